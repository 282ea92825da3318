"""Land as it is seen: hidden surfaces, light and shadow, ground cover, air in between."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, fbm, lookup, octave, ramp, rng, soften
from painter.palette import linear

if TYPE_CHECKING:
    from painter.relief import Relief
    from painter.view import View


WATER = np.float32(-1e4)
"""Stands for a place under water, which no ray from above stops at."""
_STEPS = 240
"""Depths tried on the way to one that is e times as far: a crest between two of them is missed, and its line breaks."""
_HAZE = 0.075
_BEHIND = 1.03
"""How much farther the land above a pixel is, where there is a crest in between."""


def lit(field: Relief, view: View) -> Array:
    """Colour the whole field as lit by a low sun from one side: (rows, cols, 3)."""
    height, palette = field.height, view.light
    side = 1 if view.bearing > 0 else -1
    depth, width = field.cell
    down, across = np.gradient(height)
    down, across = down / depth, across / width
    steep = np.sqrt(down * down + across * across)
    norm = 1 / np.sqrt(1 + steep * steep)
    low = max(0.2, palette.elevation * 1.15)
    light = np.array([side * 0.86, low, -0.42], dtype=np.float32)
    light /= np.linalg.norm(light)
    face = np.clip((-across * light[0] + light[1] - down * light[2]) * norm, 0, 1)
    # Towards the sun, whatever rises above the ray is what shades a place.
    ray = height - side * np.arange(height.shape[1], dtype=np.float32)[None, :] * width * (low * 0.62)
    wall = np.maximum.accumulate(ray[:, ::-side], axis=1)[:, ::-side]
    open_sun = 1 - ramp(0.0, 0.055, wall - ray)
    hollow = np.clip((soften(height, 26) - height) * 2.1, -0.35, 0.5)
    fill = (0.52 + 0.48 * norm) * (1 - hollow) * (1 - 0.35 * ramp(0.2, 1.2, -down * 0.5))
    return _cover(height, steep, view) * (
        palette.sun * (face * open_sun)[..., None] * 0.82 + palette.shade * fill[..., None] * 0.95
    )


def _cover(height: Array, steep: Array, view: View) -> Array:
    """Choose between low growth, rock and snow by height, slope and chance."""
    dice = rng(view.seed, "cover")
    winter = "snow" in view.scene.shows
    snowline = 0.25 if winter else rng(view.seed, "snowline").uniform(0.85, 1.35)
    snow = linear("#eef3fa")
    growth = snow * 0.8 if winter else linear("#4c5f35") * 0.7
    patch = fbm(dice, height.shape, (22, 30), 5, 0.62)
    speck = octave(dice, height.shape, (height.shape[0] / 2.1, height.shape[1] / 2.1))
    rocky = ramp(-0.1, 0.1, (height - 0.5) * 0.55 + (steep - 0.95) * 0.22 + patch * 0.13)[..., None]
    snowy = ramp(-0.09, 0.09, (height - snowline) * 0.45 - (steep - 0.85) * 0.36 + patch * 0.13)[..., None]
    low = growth * (1 + 0.3 * patch + 0.28 * speck)[..., None]
    rock = linear("#6f6a68") * (1 + 0.28 * patch + 0.12 * speck)[..., None]
    mixed = low + (rock - low) * rocky
    return np.clip(mixed + (snow - mixed) * snowy, 0, 1)


def march(view: View, relief: Relief, eye: float) -> tuple[Array, Array]:
    """Find what each column sees: depths tried (steps), and the highest pixel reached by each (steps, width)."""
    steps = round(_STEPS * float(np.log(relief.far / relief.near)))
    depth = np.geomspace(relief.near, relief.far, steps, dtype=np.float32)
    x = depth[:, None] * view.columns[None, :]
    z = np.broadcast_to(depth[:, None], x.shape)
    height = lookup(relief.height, *relief.at(z, x))
    seen = (height - np.float32(eye)) * np.float32(view.focal) / depth[:, None]
    return depth, np.where(height > 0, seen, WATER).astype(np.float32)


def visible(view: View, relief: Relief, eye: float, below: int) -> tuple[Array, Array, Array]:
    """Look at each pixel, rows upward from ``-below``.

    Returned are how far away its land is, how much of the pixel that covers, and how many pixels above the pixel's
    lower edge whatever is nearer ends.
    """
    depth, seen = march(view, relief, eye)
    top = np.maximum.accumulate(seen, axis=0)
    rows = np.arange(-below, view.above, dtype=np.float32) + 0.5
    index = np.empty((len(rows), view.width), dtype=np.int32)
    ceiling = top[-1]
    for column in range(view.width):
        index[:, column] = np.searchsorted(top[:, column], np.minimum(rows, ceiling[column]))
    np.clip(index, 0, len(depth) - 1, out=index)
    before = np.maximum(index - 1, 0)
    columns = np.arange(view.width)[None, :]
    low, high = seen[before, columns], seen[index, columns]
    part = np.clip((np.minimum(rows[:, None], ceiling) - low) / np.maximum(high - low, 1e-3), 0, 1)
    z = depth[before] + (depth[index] - depth[before]) * part
    cover = np.clip(ceiling - rows[:, None] + 0.5, 0, 1)
    nearer = top[before, columns] - rows[:, None] + 0.5
    shore = seen[np.argmax(seen > WATER, axis=0), columns[0]]
    return z, cover * np.clip(rows[:, None] - np.where(shore > WATER, shore, np.inf) + 1, 0, 1), nearer


def land(canvas: Array, view: View, field: Relief, colours: Array, eye: float, sky: Array) -> None:
    """Paint the land as seen from a height (negative: in the mirror); the top row of the canvas is the highest."""
    below = canvas.shape[0] - view.above
    z, alpha, nearer = visible(view, field, eye, below)
    rows, cols = np.nonzero(alpha > 0)
    depth = z[rows, cols]
    place = field.at(depth, depth * view.columns[cols])
    altitude = np.clip(lookup(field.height, *place), 0, None)
    air = 1 - np.exp(-np.maximum(depth - field.near * 0.7, 0) * _HAZE * (0.35 + 0.95 * np.exp(-altitude * 1.5)))
    picture = np.zeros((*alpha.shape, 3), dtype=np.float32)
    behind = haze_colour(sky, view)[cols]
    picture[rows, cols] = lookup(colours, *place) * (1 - air[:, None]) + behind * air[:, None]
    smooth_crests(picture, np.where(alpha > 0, z, 0), nearer)
    canvas *= 1 - alpha[..., None]
    canvas += picture * alpha[..., None]


def smooth_crests(colours: Array, z: Array, nearer: Array) -> None:
    """Mix, in place, the two pixels at the edge of a crest by how much of each it covers."""
    crest = (z[1:] > _BEHIND * z[:-1]) & (z[:-1] > 0)
    share = np.where(crest, np.clip(nearer[1:], -0.5, 0.5), 0)[..., None].astype(np.float32)
    difference = colours[:-1] - colours[1:]
    colours[1:] += np.maximum(share, 0) * difference
    colours[:-1] += np.minimum(share, 0) * difference


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
