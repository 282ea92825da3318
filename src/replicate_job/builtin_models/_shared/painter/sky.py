"""The sky: gradient, glow, sun or moon, stars, aurora."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, fbm, line, ramp, rng, soften

if TYPE_CHECKING:
    from painter.palette import Palette
    from painter.view import View


def heights(view: View) -> Array:
    """Elevation (tangent) of each sky row, horizon first."""
    return (np.arange(view.above, dtype=np.float32) + 0.5) / np.float32(view.focal)


def gradient(view: View, palette: Palette) -> Array:
    """Paint the clear sky, rows upward from the horizon: (above, width, 3)."""
    elevation = heights(view)
    marks = np.array([0.0, 0.07, 0.17, 0.34, 0.62], dtype=np.float32)
    column = np.stack([np.interp(elevation, marks, [stop[c] for stop in palette.stops]) for c in range(3)], axis=-1)
    return np.repeat(column[:, None, :].astype(np.float32), view.width, axis=1)


def distance(view: View, bearing: float, elevation: float, flatten: float = 1.0) -> Array:
    """Angle (as a tangent) of every sky pixel from a point; ``flatten`` widens it along the horizon."""
    across = (view.columns - np.float32(bearing)) / np.float32(flatten)
    up = heights(view) - np.float32(elevation)
    return np.sqrt(across[None, :] ** 2 + up[:, None] ** 2)


def glow(sky: Array, view: View, palette: Palette, bearing: float) -> None:
    """Add the light that air scatters around the sun."""
    wide = np.exp(-distance(view, bearing, palette.elevation * 0.5, 2.3) * 5.5)
    near = np.exp(-distance(view, bearing, palette.elevation, 1.15) * 16)
    sky += wide[..., None] * (palette.glow * 0.42) + near[..., None] * (palette.sun * 0.32)


def sun(sky: Array, view: View, palette: Palette, bearing: float) -> None:
    """Add the sun's disc and its halo."""
    away = distance(view, bearing, palette.elevation)
    disc = 1 - ramp(0.019, 0.0205, away)
    halo = np.exp(-np.maximum(away - 0.019, 0) * 42)
    warm = palette.sun / palette.sun.max()
    sky += disc[..., None] * (warm * 5 + 1.5) + halo[..., None] * palette.sun * 0.45


def moon(sky: Array, view: View, bearing: float, elevation: float, radius: float, seed: int) -> None:
    """Put a full moon in the sky, with its seas and a halo."""
    away = distance(view, bearing, elevation)
    halo = np.exp(-np.maximum(away - radius, 0) / radius * 0.55)
    sky += halo[..., None] * np.array([0.16, 0.2, 0.28], dtype=np.float32)
    disc = 1 - ramp(radius - 0.0008, radius + 0.0008, away)
    rows, cols = np.nonzero(disc.max(axis=1))[0], np.nonzero(disc.max(axis=0))[0]
    if not len(rows) or not len(cols):
        return
    area = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    shape = disc[area].shape
    seas = fbm(rng(seed, "moon"), shape, (4, 4), 6, 0.62)
    limb = np.sqrt(np.clip(1 - (away[area] / radius) ** 2, 0, 1))
    face = (0.55 + 0.45 * limb) * (1.35 - 0.6 * ramp(-0.2, 0.5, seas))
    colour = face[..., None] * np.array([1.15, 1.1, 0.98], dtype=np.float32) * 1.5
    sky[area] = sky[area] * (1 - disc[area][..., None]) + colour * disc[area][..., None]


def stars(sky: Array, view: View, amount: float, seed: int) -> None:
    """Scatter stars by brightness as in nature, many faint and few bright, and a band of the Milky Way."""
    dice = rng(seed, "stars")
    rows, cols = sky.shape[:2]
    light = np.zeros((rows, cols), dtype=np.float32)
    count = int(1900 * amount * (view.width / view.height))
    y, x = (dice.random(count) * (rows - 3)).astype(int) + 1, (dice.random(count) * (cols - 3)).astype(int) + 1
    power = (0.05 / (dice.random(count) + 0.012)) ** 1.15 * 0.28
    np.add.at(light, (y, x), power)
    for step in (-1, 1):
        np.add.at(light, (y + step, x), power * 0.28 * (power > 0.4))  # noqa: PLR2004 - only bright stars have a width
        np.add.at(light, (y, x + step), power * 0.28 * (power > 0.4))  # noqa: PLR2004
    haze = ramp(0.02, 0.3, heights(view))[:, None]
    tint = np.array([0.9, 0.96, 1.1], dtype=np.float32)
    sky += (light * haze)[..., None] * tint * amount
    slope, offset = dice.uniform(-0.9, 0.9), dice.uniform(-0.1, 0.3)
    band = np.abs(heights(view)[:, None] - 0.35 - offset - slope * view.columns[None, :]) / np.sqrt(1 + slope**2)
    cloud = 0.55 + 0.7 * fbm(dice, (rows, cols), (5, 7), 6, 0.6)
    milk = np.exp(-((band / 0.13) ** 2)) * np.clip(cloud, 0, 1.4) * haze * amount
    sky += milk[..., None] * np.array([0.075, 0.075, 0.105], dtype=np.float32)


def aurora(sky: Array, view: View, seed: int) -> None:
    """Hang curtains of northern light: sharp below, fading upward through green into violet."""
    dice = rng(seed, "aurora")
    up = heights(view)[:, None]
    low, high = np.array([0.05, 0.85, 0.38], dtype=np.float32), np.array([0.5, 0.12, 0.75], dtype=np.float32)
    for curtain in range(4):
        base = 0.1 + 0.07 * curtain + 0.1 * line(dice, view.width, 2.2, 3, 0.5)
        rays = 0.35 + 0.65 * np.clip(0.5 + 0.5 * line(dice, view.width, 46, 3, 0.7), 0, 1) ** 1.6
        fold = np.clip(0.55 + 0.75 * line(dice, view.width, 3, 2), 0.0, 1.3)
        length = 0.14 + 0.1 * np.clip(1 + line(dice, view.width, 9, 2), 0, 2)
        rise = up - base[None, :].astype(np.float32)
        shape = ramp(-0.012, 0.02, rise) * np.exp(-np.maximum(rise, 0) / length[None, :].astype(np.float32))
        strength = shape * (rays * fold)[None, :].astype(np.float32) * 0.62
        part = ramp(0.02, 0.32, rise)[..., None]
        sky += strength[..., None] * (low * (1 - part) + high * part)
    sky += soften(np.clip(sky - 0.2, 0, 1), 30) * 0.25
