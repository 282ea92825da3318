"""Neon signs: glowing panels of invented characters, and strips of light along the walls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from painter.city import NEON
from painter.noise import Array, resize

if TYPE_CHECKING:
    from painter.view import View


@dataclass(frozen=True)
class Sign:
    """An upright panel that faces the viewer: its place, size (world units), colour and texture."""

    left: float
    low: float
    wide: float
    tall: float
    depth: float
    colour: int
    texture: Array


def glyph(pen: ImageDraw.ImageDraw, dice: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw one invented character from a few strokes on a grid."""
    weight = max(2, int(size * 0.1))
    grid = [x + size * t for t in (0.08, 0.36, 0.64, 0.92)], [y + size * t for t in (0.08, 0.36, 0.64, 0.92)]
    for _ in range(int(dice.integers(4, 7))):
        kind, i, j, k = dice.integers(0, 5), *dice.integers(0, 4, 3)
        if kind < 2:  # noqa: PLR2004 - two kinds of five are level strokes
            pen.line([(grid[0][min(i, 1)], grid[1][j]), (grid[0][3], grid[1][j])], fill=255, width=weight)
        elif kind < 4:  # noqa: PLR2004 - two are upright
            pen.line([(grid[0][i], grid[1][min(j, 1)]), (grid[0][i], grid[1][3])], fill=255, width=weight)
        else:
            pen.line([(grid[0][1], grid[1][k]), (grid[0][i], grid[1][3])], fill=255, width=weight)


def panel(dice: np.random.Generator, across: int, down: int) -> Array:
    """Make a sign's texture: a frame and rows of characters, 0..1."""
    cell = 48
    image = Image.new("L", (across * cell + 20, down * cell + 20))
    pen = ImageDraw.Draw(image)
    if dice.random() < 0.7:  # noqa: PLR2004 - most signs have a frame
        pen.rectangle([3, 3, image.width - 4, image.height - 4], outline=230, width=4)
    for row in range(down):
        for column in range(across):
            glyph(pen, dice, 10 + column * cell + 4, 10 + row * cell + 4, cell - 8)
    return np.asarray(image, dtype=np.float32) / 255


def signs(dice: np.random.Generator) -> list[Sign]:
    """Hang signs along both sides of a street, the farthest first."""
    result = []
    for side in (-1, 1):
        z = dice.uniform(1.6, 2.1)
        while z < 15:  # noqa: PLR2004 - farther signs would be specks
            upright = dice.random() < 0.68  # noqa: PLR2004 - most hang upright
            across, down = (1, int(dice.integers(3, 7))) if upright else (int(dice.integers(2, 5)), 1)
            tall = dice.uniform(0.12, 0.17) * (down if upright else dice.uniform(0.75, 1.2))
            wide = tall * across / down
            edge = side * (0.9 - dice.uniform(0, 0.05))
            low = dice.uniform(0.42, 1.5) + z * 0.05
            left = edge - wide if side > 0 else edge
            result.append(Sign(left, low, wide, tall, z, int(dice.integers(0, len(NEON))), panel(dice, across, down)))
            z += dice.uniform(0.35, 1.15)
    return sorted(result, key=lambda sign: -sign.depth)


def hang(canvas: Array, view: View, eye: float, sign: Sign, haze: float) -> None:
    """Paint a sign: a dark panel, coloured light around its strokes, a white-hot core."""
    rows_total, cols_total = canvas.shape[:2]
    below = rows_total - view.above
    scale = view.focal / sign.depth
    x0, x1 = (view.width / 2 + (sign.left + part) * scale for part in (0.0, sign.wide))
    y0, y1 = (below + (sign.low + part - eye) * scale for part in (0.0, sign.tall))
    cols, rows = max(2, round(x1 - x0)), max(2, round(y1 - y0))
    left, low = round(x0), round(y0)
    a, b, c, d = max(0, low), min(rows_total, low + rows), max(0, left), min(cols_total, left + cols)
    if a >= b or c >= d:
        return
    strokes = np.clip(resize(sign.texture, rows, cols), 0, 1)[::-1][a - low : b - low, c - left : d - left, None]
    clear = np.exp(-max(sign.depth - 1.5, 0) * haze)
    colour = NEON[sign.colour]
    area = canvas[a:b, c:d]
    area *= 0.25
    area += colour * 0.16 * clear + (colour * 1.7 + 0.35) * strokes**1.3 * (1.5 * clear)


def strips(canvas: Array, view: View, eye: float, dice: np.random.Generator, haze: float) -> None:
    """Run lines of light along the walls into the distance, at a few heights."""
    rows_total = canvas.shape[0]
    below = rows_total - view.above
    for side in (-1, 1):
        for height in dice.uniform(0.3, 2.6, 3):
            colour = NEON[int(dice.integers(0, len(NEON)))]
            start, stop = sorted(dice.uniform(1.4, 12, 2))
            columns = np.arange(view.width)
            bearing = view.columns * side
            depth = 0.92 / np.maximum(bearing, 1e-3)
            inside = (bearing > 0) & (depth > start) & (depth < stop)
            columns, depth = columns[inside], depth[inside]
            row = (height - eye) * view.focal / depth + below
            thick = np.clip(0.012 * view.focal / depth, 0.7, 6)
            for step in range(-3, 4):
                at = np.clip(np.round(row).astype(int) + step, 0, rows_total - 1)
                power = np.clip(thick * 0.5 - abs(step) + 0.5, 0, 1) * np.exp(-depth * haze) * 2.2
                canvas[at, columns] += power[:, None] * colour
