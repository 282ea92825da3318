"""Seeded noise, from which everything is painted, and operations on arrays of light.

Values come from small random grids that are enlarged smoothly. So the same seed gives the same shapes at every picture
size, with finer or coarser details.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating]


def rng(seed: int, purpose: str) -> np.random.Generator:
    """Return a separate generator for each purpose, so that the parts of a picture do not affect each other."""
    return np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, zlib.crc32(purpose.encode())])


def resize(plane: Array, rows: int, cols: int) -> Array:
    """Resize one float plane; enlarging is bicubic, shrinking averages."""
    method = Image.Resampling.BICUBIC if rows >= plane.shape[0] else Image.Resampling.BILINEAR
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32)).resize((cols, rows), method)
    return np.asarray(image, dtype=np.float32)


def soften(image: Array, factor: float) -> Array:
    """Blur planes (rows, cols[, channels]) by about ``factor`` pixels, through a smaller copy."""
    rows, cols = image.shape[:2]
    small = max(2, round(rows / factor)), max(2, round(cols / factor))
    if image.ndim == 2:  # noqa: PLR2004 - a single plane
        return resize(resize(image, *small), rows, cols)
    return np.stack([resize(resize(plane, *small), rows, cols) for plane in np.moveaxis(image, -1, 0)], axis=-1)


def octave(dice: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> Array:
    """Return one layer of smooth noise in about -1 to 1; ``cells`` is the number of random values down and across."""
    down, across = (max(2, int(np.ceil(count))) for count in cells)
    grid = dice.uniform(-1, 1, (down + 3, across + 3)).astype(np.float32)
    pixels = shape[0] / cells[0], shape[1] / cells[1]
    box = (1.0, 1.0, 1.0 + shape[1] / pixels[1], 1.0 + shape[0] / pixels[0])
    image = Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image, dtype=np.float32)


def fbm(
    dice: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int = 6, gain: float = 0.5
) -> Array:
    """Return fractal noise, about -1 to 1: each octave twice as fine and ``gain`` times as strong."""
    total = np.zeros(shape, dtype=np.float32)
    weight, norm = 1.0, 0.0
    for level in range(octaves):
        scaled = cells[0] * 2**level, cells[1] * 2**level
        if scaled[0] > shape[0] or scaled[1] > shape[1]:
            break
        total += weight * octave(dice, shape, scaled)
        norm += weight * weight
        weight *= gain
    return total / np.float32(np.sqrt(norm) * 1.25)


def tile(dice: np.random.Generator, size: int, cells: int, octaves: int = 6, gain: float = 0.5) -> Array:
    """Return fractal noise (size, size) that repeats without a seam, scaled to 0..1."""
    total = np.zeros((size, size), dtype=np.float32)
    weight = 1.0
    for level in range(octaves):
        count = cells * 2**level
        if count > size:
            break
        grid = np.pad(dice.uniform(-1, 1, (count, count)).astype(np.float32), 2, mode="wrap")
        box = (2, 2, 2 + count, 2 + count)
        total += weight * np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC, box=box))
        weight *= gain
    low, high = np.percentile(total, (1, 99))
    scaled: Array = np.clip((total - low) / (high - low), 0, 1)
    return scaled


def line(dice: np.random.Generator, length: int, cells: float, octaves: int = 6, gain: float = 0.5) -> Array:
    """Return one row of fractal noise, about -1 to 1."""
    row: Array = fbm(dice, (64, length), (2, max(2.0, cells)), octaves, gain)[0]
    return row


def lookup(texture: Array, down: Array, across: Array) -> Array:
    """Read a repeating texture at fractional positions, bilinearly."""
    rows, cols = texture.shape[:2]
    flat = texture.reshape(rows * cols, -1)
    y0, x0 = np.floor(down), np.floor(across)
    fy, fx = (down - y0)[..., None], (across - x0)[..., None]
    y, x = y0.astype(np.int32) % rows, x0.astype(np.int32) % cols
    below, beside = (y + 1) % rows, (x + 1) % cols
    upper = flat[y * cols + x] * (1 - fx) + flat[y * cols + beside] * fx
    lower = flat[below * cols + x] * (1 - fx) + flat[below * cols + beside] * fx
    result: Array = upper * (1 - fy) + lower * fy
    return result if texture.ndim == 3 else result[..., 0]  # noqa: PLR2004 - planes or one plane


def ramp(low: float, high: float, value: Array | float) -> Array:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    part: Array = np.clip((np.asarray(value, dtype=np.float32) - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


def cover(canvas: Array, mask: Array, tone: Array) -> None:
    """Paint a tone over a canvas where a mask is 1, and mix both in proportion where the mask is lower."""
    canvas *= 1 - mask[..., None]
    canvas += tone * mask[..., None]
