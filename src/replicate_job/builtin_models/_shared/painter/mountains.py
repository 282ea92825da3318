"""Mountains behind a lake: a height field, its light and ground cover, and its view from the shore."""

# ruff: noqa: PLR0913, PLR0917 - these functions need the relief, the colours, the light and the camera

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, cover, fbm, lookup, octave, ramp, rng, soften
from painter.palette import linear
from painter.sky import haze_colour
from painter.water import water

if TYPE_CHECKING:
    from painter.view import View


WATER = np.float32(-1e4)
"""The height that stands for a place under water. It is so low that no ray from above ends there."""
_STEPS = 240
"""The number of depths that are tried between a distance and e (2.718) times that distance. With fewer, the lines of
crests would have gaps."""
_HAZE = 0.075


def raise_mountains(upward: Array, view: View, air: Array) -> None:
    """Raise mountains behind a lake, and mirror them in it."""
    fine = min(1.0, 0.45 + 0.55 * max(view.width, view.height) / 1344)
    field = _range(view.seed, fine, view.bearing)
    colours = _lit(field, view)
    mirrored = air.copy()
    _land(mirrored, view, field, colours, -view.eye, air)
    upward[: view.below] = water(view, mirrored, rough=0.09, body=linear("#1c3a48"))[::-1]
    _land(upward, view, field, colours, view.eye, air)


@dataclass(frozen=True)
class Relief:
    """Heights on a grid, rows from ``near`` to ``far``, columns from ``-side`` to ``side`` (world units)."""

    height: Array
    near: float
    far: float
    side: float

    @property
    def cell(self) -> tuple[float, float]:
        """The depth and the width of one cell, in world units."""
        rows, cols = self.height.shape
        return (self.far - self.near) / rows, 2 * self.side / cols

    def at(self, z: Array, x: Array) -> tuple[Array, Array]:
        """Grid position (row, column) of a place, clipped to the field."""
        rows, cols = self.height.shape
        down = (z - self.near) / (self.far - self.near) * (rows - 1)
        across = (x + self.side) / (2 * self.side) * (cols - 1)
        return np.clip(down, 0, rows - 1.001), np.clip(across, 0, cols - 1.001)


def _eroded(dice: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int) -> Array:
    """Fractal noise with less detail in steep places, as if water had run down there. It makes ridges and valleys."""
    total = np.zeros(shape, dtype=np.float32)
    slope_y, slope_x = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    weight = 1.0
    for level in range(octaves):
        scaled = cells[0] * 2.03**level, cells[1] * 2.03**level
        if scaled[0] > shape[0] * 0.7:
            break
        layer = octave(dice, shape, scaled)
        ridge = 1 - 2 * np.sqrt(layer * layer + 0.004) if level < 4 else layer  # noqa: PLR2004 - large shapes have crests
        steep_y, steep_x = np.gradient(layer)
        slope_y += steep_y * (shape[0] / cells[0]) * weight
        slope_x += steep_x * (shape[1] / cells[1]) * weight
        total += weight * ridge / (1 + 0.3 * (slope_y**2 + slope_x**2))
        weight *= 0.5
    return total


def _range(seed: int, fine: float, bearing: float) -> Relief:
    """Raise a range across the far shore, with a valley where the sun stands and higher peaks behind."""
    near, far, side = 4.2, 19.0, 12.0
    shape = int(720 * fine), int(1080 * fine)
    dice = rng(seed, "mountains")
    z = np.linspace(near, far, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-side, side, shape[1], dtype=np.float32)[None, :]
    rough = _eroded(dice, shape, (5.2, 8.4), 9)
    shore = 5.0 + 0.55 * octave(dice, shape, (2, 5)) + 0.25 * octave(dice, shape, (2, 14))
    valley = np.abs(x - bearing * z) / (0.16 * z + 0.5)
    opening = 0.26 + 0.74 * ramp(0.15, 2.1, valley)
    rise = ramp(0.0, 6.4, z - shore) * 2.1 + ramp(0.0, 1.5, z - shore) * 0.2
    massif = 0.85 + 0.5 * fbm(dice, shape, (2.2, 3.4), 3)
    height = rise * opening * (0.7 + 0.62 * rough) * massif
    bank = np.minimum((z - shore) * 0.3, 0.045)
    return Relief((height + bank).astype(np.float32), near, far, side)


def _lit(field: Relief, view: View) -> Array:
    """Colour the whole field as lit by a low sun from one side: (rows, cols, 3)."""
    height, palette = field.height, view.light
    side = 1 if view.bearing > 0 else -1
    depth, width = field.cell
    down, across = np.gradient(height, axis=0) / depth, np.gradient(height, axis=1) / width
    steep = np.sqrt(down * down + across * across)
    norm = 1 / np.sqrt(1 + steep * steep)
    low = max(0.2, palette.elevation * 1.15)
    light = np.array([side * 0.86, low, -0.42], dtype=np.float32)
    light /= np.linalg.norm(light)
    face = np.clip((-across * light[0] + light[1] - down * light[2]) * norm, 0, 1)
    # A place is in the shade if land towards the sun rises above the ray from the place to the sun.
    ray = height - side * np.arange(height.shape[1], dtype=np.float32)[None, :] * width * (low * 0.62)
    wall = np.maximum.accumulate(ray[:, ::-side], axis=1)[:, ::-side]
    open_sun = 1 - ramp(0.0, 0.055, wall - ray)
    hollow = np.clip((soften(height, 26) - height) * 2.1, -0.35, 0.5)
    fill = (0.52 + 0.48 * norm) * (1 - hollow) * (1 - 0.35 * ramp(0.2, 1.2, -down * 0.5))
    falling: Array = palette.sun * (face * open_sun)[..., None] * 0.82 + palette.shade * fill[..., None] * 0.95
    return _ground(height, steep, view) * falling


def _ground(height: Array, steep: Array, view: View) -> Array:
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


def _march(view: View, field: Relief, eye: float) -> tuple[Array, Array]:
    """Return the depths that are tried (steps), and the height of the land at each depth (steps, width).

    The height is in pixels above the horizon.
    """
    steps = round(_STEPS * float(np.log(field.far / field.near)))
    depth = np.geomspace(field.near, field.far, steps, dtype=np.float32)
    x = depth[:, None] * view.columns[None, :]
    z = np.broadcast_to(depth[:, None], x.shape)
    height = lookup(field.height, *field.at(z, x))
    seen = (height - np.float32(eye)) * np.float32(view.focal) / depth[:, None]
    return depth, np.where(height > 0, seen, WATER).astype(np.float32)


def _visible(view: View, field: Relief, eye: float, below: int) -> tuple[Array, Array]:
    """Return the distance of each pixel's land, and the share of the pixel that it covers.

    The first row is the lowest, ``below`` pixels below the horizon.
    """
    depth, seen = _march(view, field, eye)
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
    share = np.clip(ceiling - rows[:, None] + 0.5, 0, 1)
    shore = seen[np.argmax(seen > WATER, axis=0), columns[0]]
    return z, share * np.clip(rows[:, None] - np.where(shore > WATER, shore, np.inf) + 1, 0, 1)


def _land(canvas: Array, view: View, field: Relief, colours: Array, eye: float, sky: Array) -> None:
    """Paint the land seen from the height ``eye`` (negative: mirrored). The first row of the canvas is the lowest."""
    below = canvas.shape[0] - view.above
    z, alpha = _visible(view, field, eye, below)
    rows, cols = np.nonzero(alpha > 0)
    depth = z[rows, cols]
    place = field.at(depth, depth * view.columns[cols])
    altitude = np.clip(lookup(field.height, *place), 0, None)
    air = 1 - np.exp(-np.maximum(depth - field.near * 0.7, 0) * _HAZE * (0.35 + 0.95 * np.exp(-altitude * 1.5)))
    picture = np.zeros((*alpha.shape, 3), dtype=np.float32)
    behind = haze_colour(sky, view)[cols]
    picture[rows, cols] = lookup(colours, *place) * (1 - air[:, None]) + behind * air[:, None]
    cover(canvas, alpha, picture)
