"""Land as it is seen: hidden surfaces, light and shadow, ground cover, air in between."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, fbm, lookup, octave, ramp, rng, soften, tile

if TYPE_CHECKING:
    from painter.palette import Palette
    from painter.relief import Relief
    from painter.view import View


WATER = np.float32(-1e4)
"""Stands for a place under water, which no ray from above stops at."""
_STEPS = 240
"""Depths tried on the way to one that is e times as far: a crest between two of them is missed, and its line breaks."""
_BEHIND = 1.03
"""How much farther the land above a pixel is, where there is a crest in between."""


@dataclass(frozen=True)
class Cover:
    """What grows or lies on the land: linear colours, and heights (world units) where one gives way to the next."""

    low: Array
    rock: Array
    snow: Array
    snowline: float
    treeline: float
    haze: float = 0.075
    grain: float = 1.0


def lit(relief: Relief, cover: Cover, palette: Palette, side: float, seed: int) -> Array:
    """Colour the whole field as lit by a low sun from one side: (rows, cols, 3)."""
    height = relief.height
    depth, width = relief.cell
    down, across = np.gradient(height)
    down, across = down / depth, across / width
    steep = np.sqrt(down * down + across * across)
    norm = 1 / np.sqrt(1 + steep * steep)
    low = max(0.2, palette.elevation * 1.15)
    light = np.array([side * 0.86, low, -0.42], dtype=np.float32)
    light /= np.linalg.norm(light)
    face = np.clip((-across * light[0] + light[1] - down * light[2]) * norm, 0, 1)
    ray = height + np.arange(height.shape[1], dtype=np.float32)[None, :] * width * (low * 0.62) * (
        1 if side < 0 else -1
    )
    wall = np.maximum.accumulate(ray, axis=1) if side < 0 else np.maximum.accumulate(ray[:, ::-1], axis=1)[:, ::-1]
    open_sun = 1 - ramp(0.0, 0.055, wall - ray)
    hollow = np.clip((soften(height, 26) - height) * 2.1, -0.35, 0.5)
    fill = (0.52 + 0.48 * norm) * (1 - hollow) * (1 - 0.35 * ramp(0.2, 1.2, -down * 0.5))
    colour = albedo(relief, cover, steep, seed)
    return colour * (palette.sun * (face * open_sun)[..., None] * 0.82 + palette.shade * fill[..., None] * 0.95)


def albedo(relief: Relief, cover: Cover, steep: Array, seed: int) -> Array:
    """Choose between low growth, rock and snow by height, slope and chance."""
    dice = rng(seed, "cover")
    shape = relief.height.shape
    patch = fbm(dice, shape, (22, 30), 5, 0.62)
    speck = octave(dice, shape, (shape[0] / 2.1, shape[1] / 2.1))
    height = relief.height
    rocky = ramp(-0.1, 0.1, (height - cover.treeline) * 0.55 + (steep - 0.95) * 0.22 + patch * 0.13)
    snowy = ramp(-0.09, 0.09, (height - cover.snowline) * 0.45 - (steep - 0.85) * 0.36 + patch * 0.13)
    low = cover.low * (1 + cover.grain * (0.3 * patch + 0.28 * speck))[..., None]
    rock = cover.rock * (1 + cover.grain * (0.28 * patch + 0.12 * speck))[..., None]
    mixed = low + (rock - low) * rocky[..., None]
    return np.clip(mixed + (cover.snow - mixed) * snowy[..., None], 0, 1)


def march(view: View, relief: Relief, eye: float) -> tuple[Array, Array]:
    """Find what each column sees: depths tried (steps), and the highest pixel reached by each (steps, width)."""
    steps = round(_STEPS * float(np.log(relief.far / relief.near)))
    depth = np.geomspace(relief.near, relief.far, steps, dtype=np.float32)
    x = depth[:, None] * view.columns[None, :]
    z = np.broadcast_to(depth[:, None], x.shape)
    height = lookup(relief.height, *relief.at(z, x))
    seen = (height - np.float32(eye)) * np.float32(view.focal) / depth[:, None]
    return depth, np.where((height > 0) | relief.dry, seen, WATER).astype(np.float32)


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
    if relief.dry:
        return z, cover, nearer
    shore = seen[np.argmax(seen > WATER, axis=0), columns[0]]
    return z, cover * np.clip(rows[:, None] - np.where(shore > WATER, shore, np.inf) + 1, 0, 1), nearer


def land(
    view: View, relief: Relief, colours: Array, palette: Palette, cover: Cover, eye: float, sky: Array, below: int
) -> tuple[Array, Array]:
    """Paint the land: colours and coverage, rows upward from ``-below`` (negative rows are under the horizon)."""
    z, alpha, nearer = visible(view, relief, eye, below)
    rows, cols = np.nonzero(alpha > 0)
    depth = z[rows, cols]
    x = depth * view.columns[cols]
    place = relief.at(depth, x)
    paint = lookup(colours, *place)
    if relief.dry:
        paint *= underfoot(depth, x, cover)[:, None]
    altitude = np.clip(lookup(relief.height, *place), 0, None)
    air = 1 - np.exp(-np.maximum(depth - relief.near * 0.7, 0) * cover.haze * (0.35 + 0.95 * np.exp(-altitude * 1.5)))
    behind = haze_colour(sky, palette)[cols]
    result = np.zeros((*alpha.shape, 3), dtype=np.float32)
    result[rows, cols] = paint * (1 - air[:, None]) + behind * air[:, None]
    smooth_crests(result, np.where(alpha > 0, z, 0), nearer)
    return result, alpha


def smooth_crests(colours: Array, z: Array, nearer: Array) -> None:
    """Mix, in place, the two pixels at the edge of a crest by how much of each it covers."""
    crest = (z[1:] > _BEHIND * z[:-1]) & (z[:-1] > 0)
    share = np.where(crest, np.clip(nearer[1:], -0.5, 0.5), 0)[..., None].astype(np.float32)
    difference = colours[:-1] - colours[1:]
    colours[1:] += np.maximum(share, 0) * difference
    colours[:-1] += np.minimum(share, 0) * difference


def underfoot(depth: Array, x: Array, cover: Cover) -> Array:
    """Light and dark of the ground near the viewer, finer than the field's cells: a factor for each place."""
    texture = tile(rng(0, "underfoot"), 256, 8, 5, 0.62) - 0.5
    bend, speck = lookup(texture, depth * 44, x * 36), lookup(texture, depth * 420, x * 330)
    near = np.exp(-((depth / 1.5) ** 2))
    return 1 + near * ((0.12 + 0.2 * cover.grain) * speck + 0.14 * bend)


def haze_colour(sky: Array, palette: Palette) -> Array:
    """Colour of distant air in each column: the sky low above the horizon, drawn towards the palette's haze."""
    rows = sky.shape[0]
    band = np.minimum(sky[: rows // 3], 1.1)
    weight = np.linspace(1.0, 0.5, len(band), dtype=np.float32)[:, None, None]
    low = (band * weight).sum(axis=0) / weight.sum()
    kernel = np.hanning(2 * (len(low) // 14) + 1).astype(np.float32)
    kernel /= kernel.sum()
    padded = np.pad(low, ((len(kernel) // 2,) * 2, (0, 0)), mode="edge")
    wide = np.stack([np.convolve(padded[:, c], kernel, mode="valid") for c in range(3)], axis=-1)
    return (wide * 0.62 + palette.haze * 0.3).astype(np.float32)
