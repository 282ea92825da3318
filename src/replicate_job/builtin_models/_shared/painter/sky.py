"""The sky: gradient, glow, sun or moon, stars, clouds. A sky's first row is at the horizon, its last at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, cover, fbm, lookup, ramp, rng, tile

if TYPE_CHECKING:
    from painter.view import View

_COVERS = {"sun": 0.15, "clear": 0.0, "cloudy": 0.75, "rain": 0.85, "stars": 0.0, "moon": 0.1}


def clear(view: View) -> Array:
    """Paint the sky without clouds: (above, width, 3)."""
    marks = np.array([0.0, 0.07, 0.17, 0.34, 0.62], dtype=np.float32)
    column = [np.interp(heights(view), marks, [stop[c] for stop in view.light.stops]) for c in range(3)]
    sky = np.repeat(np.stack(column, axis=-1)[:, None, :].astype(np.float32), view.width, axis=1)
    scene = view.scene
    hidden = bool(scene.shows & {"rain", "fog"})
    if scene.hour != "night":
        _glow(sky, view)
        if not hidden:
            _sun(sky, view)
    elif scene.ground == "city":
        lamps = np.array([0.15, 0.05, 0.02], dtype=np.float32)
        sky += np.exp(-heights(view) * 9)[:, None, None] * lamps
    elif not hidden:
        _stars(sky, view, 1.15 if "stars" in scene.shows else 0.8)
        if "moon" in scene.shows or "stars" not in scene.shows:
            _moon(sky, view, 0.74 * view.horizon / view.focal, 0.042)
    return sky


def heights(view: View) -> Array:
    """The elevation of each row of the sky as a tangent. The first row is at the horizon."""
    return (np.arange(view.above, dtype=np.float32) + 0.5) / np.float32(view.focal)


def _distance(view: View, elevation: float, flatten: float = 1.0) -> Array:
    """The distance (a tangent) of every pixel from a point in the sun's direction, at ``elevation``.

    ``flatten`` divides horizontal distances, so that a glow becomes wider than high.
    """
    across = (view.columns - np.float32(view.bearing)) / np.float32(flatten)
    up = heights(view) - np.float32(elevation)
    return np.sqrt(across[None, :] ** 2 + up[:, None] ** 2)


def _glow(sky: Array, view: View) -> None:
    """Add the light that air scatters around the sun."""
    light = view.light
    wide = np.exp(-_distance(view, light.elevation * 0.5, 2.3) * 5.5)
    near = np.exp(-_distance(view, light.elevation, 1.15) * 16)
    sky += wide[..., None] * (light.glow * 0.42) + near[..., None] * (light.sun * 0.32)


def _sun(sky: Array, view: View) -> None:
    light = view.light
    away = _distance(view, light.elevation)
    disc = 1 - ramp(0.019, 0.0205, away)
    halo = np.exp(-np.maximum(away - 0.019, 0) * 42)
    sky += disc[..., None] * (light.sun / light.sun.max() * 5 + 1.5) + halo[..., None] * light.sun * 0.45


def _moon(sky: Array, view: View, elevation: float, radius: float) -> None:
    """Put a full moon in the sky, with its seas and a halo."""
    away = _distance(view, elevation)
    halo = np.exp(-np.maximum(away - radius, 0) / radius * 0.55)
    cells = 2 * away.shape[0] / view.focal / radius, 2 * away.shape[1] / view.focal / radius
    seas = fbm(rng(view.seed, "moon"), away.shape, cells, 4, 0.62)
    limb = np.sqrt(np.clip(1 - (away / radius) ** 2, 0, 1))
    face = (0.55 + 0.45 * limb) * (1.35 - 0.6 * ramp(-0.2, 0.5, seas))
    sky += halo[..., None] * np.array([0.16, 0.2, 0.28], dtype=np.float32)
    colour = face[..., None] * np.array([1.72, 1.65, 1.47], dtype=np.float32)
    cover(sky, 1 - ramp(radius - 0.0008, radius + 0.0008, away), colour)


def _stars(sky: Array, view: View, amount: float) -> None:
    """Scatter stars by brightness as in nature: many faint and few bright."""
    dice = rng(view.seed, "stars")
    rows, cols = sky.shape[:2]
    count = int(1900 * amount * (view.width / view.height))
    y, x = (dice.random(count) * rows).astype(int), (dice.random(count) * cols).astype(int)
    light = np.zeros((rows, cols), dtype=np.float32)
    np.add.at(light, (y, x), (0.05 / (dice.random(count) + 0.012)) ** 1.15 * 0.28)
    haze = ramp(0.02, 0.3, heights(view))[:, None]
    sky += (light * haze)[..., None] * np.array([0.9, 0.96, 1.1], dtype=np.float32) * amount


def clouds(sky: Array, view: View) -> None:
    """Paint lit clouds over the sky, in perspective. The weather in the prompt decides how dense they are."""
    dice = rng(view.seed, "clouds")
    light, shows = view.light, view.scene.shows
    usual = 0.34 if view.scene.hour == "night" else dice.uniform(0.42, 0.62)
    dense = next((amount for name, amount in _COVERS.items() if name in shows), usual)
    if not dense:
        return
    vapour, wisps = tile(dice, 512, 5, 7, 0.53), tile(dice, 512, 3, 7, 0.6)
    far = np.broadcast_to(1 / (heights(view)[:, None] + np.float32(0.055)), sky.shape[:2])
    across = view.columns[None, :] * far
    shift = dice.uniform(0, 512, 4)
    density = lookup(vapour, far * 30 + shift[0], across * 30 + shift[1])
    density += (lookup(wisps, far * 64 + shift[2], across * 19 + shift[3]) - 0.5) * 0.42
    ahead = lookup(vapour, far * 30 + shift[0] + 6, across * 30 + shift[1] + 6 * np.sign(view.bearing))
    edge = 0.74 - 0.62 * dense
    body = ramp(edge, edge + 0.34, density)
    bright = np.clip(0.56 + (density - ahead) * 1.5 - 0.3 * ramp(edge + 0.18, edge + 0.7, density), 0, 1.2)
    near = np.exp(-_distance(view, light.elevation, 1.9) * 2.6)[..., None]
    lit = light.lit_cloud * 0.82 + near * light.sun * 0.42
    shade = light.dark_cloud * 0.9 + near * light.glow * 0.12
    colour = shade + (lit - shade) * bright[..., None]
    cover(sky, body * (ramp(0.0, 0.1, heights(view))[:, None] * 0.55 + 0.4), colour)


def haze_colour(sky: Array, view: View) -> Array:
    """Colour of distant air in each column: the sky low above the horizon, drawn towards the palette's haze."""
    rows = sky.shape[0]
    band = np.minimum(sky[: rows // 3], 1.1)
    weight = np.linspace(1.0, 0.5, len(band), dtype=np.float32)[:, None, None]
    low = (band * weight).sum(axis=0) / weight.sum()
    kernel = np.hanning(2 * (len(low) // 14) + 1).astype(np.float32)
    kernel /= kernel.sum()
    padded = np.pad(low, ((len(kernel) // 2,) * 2, (0, 0)), mode="edge")
    wide = np.stack([np.convolve(padded[:, c], kernel, mode="valid") for c in range(3)], axis=-1)
    return (wide * 0.62 + view.light.haze * 0.3).astype(np.float32)
