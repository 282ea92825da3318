"""Silhouettes: conifers, grass, and the line of woods on a far shore."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from painter.noise import Array, line

FINE = 2
"""Silhouettes are drawn this many times larger and averaged down."""


class Stencil:
    """A mask to draw silhouettes on, in pixels of the picture; ``mask`` gives coverage 0..1."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("L", (width * FINE, height * FINE))
        self.pen = ImageDraw.Draw(self._image)

    def ground(self, rows: Array) -> None:
        """Fill everything below a line of ground, which has a row for each column."""
        edge = [(float(column), float(row)) for column, row in enumerate(rows)]
        self.polygon([(0, 1e5), *edge, (len(rows), edge[-1][1]), (len(rows), 1e5)])

    def polygon(self, points: list[tuple[float, float]]) -> None:
        self.pen.polygon([(x * FINE, y * FINE) for x, y in points], fill=255)

    def mask(self) -> Array:
        return np.asarray(self._image.reduce(FINE), dtype=np.float32) / 255


def cover(canvas: Array, mask: Array, tone: Array) -> None:
    """Paint a tone over a canvas where a mask is 1, and in part where it is less."""
    canvas *= 1 - mask[..., None]
    canvas += tone * mask[..., None]


def conifer(pen: Stencil, dice: np.random.Generator, x: float, base: float, tall: float) -> None:
    """Draw a spruce: a trunk and whorls of drooping, ragged branches."""
    wide = tall * dice.uniform(0.15, 0.2)
    lean = dice.normal(0, 0.012) * tall
    half = max(0.3, tall * 0.007)
    pen.polygon([(x - half, base), (x + half, base), (x + lean, base - tall)])
    whorls = int(np.clip(tall / 3.4, 8, 90))
    for side in (-1, 1):
        outline = [(x + lean, base - tall)]
        for level in range(whorls):
            part = (level + dice.uniform(0.2, 0.8)) / whorls
            reach = wide * part**0.82 * dice.uniform(0.45, 1.12)
            y = base - tall * (1 - part * 0.9)
            middle = x + lean * (1 - part)
            outline.append((middle + side * reach, y + reach * 0.36))
            outline.append((middle + side * reach * dice.uniform(0.18, 0.42), y + reach * 0.02))
        outline.append((x, base - tall * 0.08))
        pen.polygon(outline)


def grass(pen: Stencil, dice: np.random.Generator, ground: Array, tall: float, count: int) -> None:
    """Draw blades of grass rising from a line of ground (a row for each column)."""
    for x in dice.uniform(0, len(ground) - 1, count):
        size = tall * dice.uniform(0.25, 1.0) ** 1.3
        bend = size * dice.normal(0.12, 0.28)
        base = float(ground[int(x)]) + 2
        pen.polygon(
            [
                (x - size * 0.025 - 0.4, base),
                (x + size * 0.025 + 0.4, base),
                (x + bend * 0.35, base - size * 0.6),
                (x + bend, base - size),
            ]
        )


def woods(dice: np.random.Generator, width: int, tall: float, density: float) -> Array:
    """Return the height (pixels) of a far line of conifers at each column: a sawtooth of many tops."""
    top = np.zeros(width, dtype=np.float32)
    grove = np.clip(0.62 + 0.6 * line(dice, width, 7, 3), 0.12, 1.1)
    columns = np.arange(width, dtype=np.float32)
    for x in dice.uniform(0, width, int(width * density / max(tall * 0.2, 1.2))):
        size = tall * dice.uniform(0.35, 1.0) * grove[int(x)]
        half = max(1.4, size * 0.27)
        first, last = int(max(0, x - half)), int(min(width, x + half + 2))
        near = 1 - np.abs(columns[first:last] - x) / half
        top[first:last] = np.maximum(top[first:last], size * np.clip(near, 0, 1) ** 0.8)
    return top
