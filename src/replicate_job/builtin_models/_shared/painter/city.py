"""A city as boxes in perspective: walls with windows, neon signs, haze between."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, ramp, scatter
from painter.palette import linear

if TYPE_CHECKING:
    from painter.view import View

NEON = tuple(linear(code) for code in ("#ff1e78", "#12e6ff", "#b02cff", "#ff6a1a", "#22ffb0", "#3a6bff", "#ffd028"))
LAMPS = tuple(linear(code) for code in ("#ffcf8a", "#ffe6bf", "#cfe6ff", "#ffb868"))


@dataclass(frozen=True)
class Box:
    """A building: sideways extent, distance of its front, depth, height, and a number that makes it itself."""

    left: float
    right: float
    near: float
    deep: float
    tall: float
    salt: int


@dataclass(frozen=True)
class Style:
    """How walls look: base colour, light on them from above and below, share of lit windows, neon or plain lamps."""

    wall: Array
    above: Array
    street: Array
    lit: float
    neon: float
    haze: Array
    thick: float


def wall(style: Style, box: Box, along: Array, up: Array, scale: Array | float, *, side: bool) -> Array:
    """Colour of points on a wall; ``along`` and ``up`` are world units, ``scale`` is pixels a unit there."""
    pitch = 0.05 + 0.04 * ((box.salt * 37 % 11) / 11)
    floor = 0.078 + 0.03 * ((box.salt * 53 % 7) / 7)
    column, row = np.floor(along / pitch), np.floor(up / floor)
    across, high = along / pitch - column - 0.5, up / floor - row - 0.5
    size = scale * pitch
    sharp = np.clip((0.33 - np.abs(across)) * size + 0.5, 0, 1) * np.clip(
        (0.27 - np.abs(high)) * scale * floor + 0.5, 0, 1
    )
    chance = scatter(row, column, box.salt)
    busy = 0.35 + 1.1 * scatter(row, row * 0, box.salt + 9)
    on = (chance < style.lit * busy).astype(np.float32)
    power = 0.25 + 1.1 * scatter(column, row, box.salt + 5) ** 2
    pick = (scatter(row, column, box.salt + 3) * 3.99).astype(int)
    lamp = np.stack(LAMPS)[pick]
    if style.neon > 0:
        coloured = scatter(column, row, box.salt + 7) < 0.2 * style.neon
        lamp = np.where(coloured[..., None], np.stack(NEON)[(pick + box.salt) % len(NEON)], lamp)
    near = np.clip((size - 1.1) / 1.6, 0, 1)
    shine = (sharp * on) * near + style.lit * busy * 0.34 * (1 - near)
    base = style.wall * (0.7 + 0.6 * ((box.salt * 29 % 13) / 13)) * (0.62 if side else 1.0)
    glass = sharp * (1 - on) * near * 0.35
    patch = np.floor(along / 0.62 + 0.3 * box.salt).astype(int)
    wash = (
        np.stack(NEON)[(patch * 5 + box.salt) % len(NEON)]
        * (style.neon * np.exp(-(((up - 0.62) / 0.62) ** 2)))[..., None]
    )
    soft = (0.5 + 0.5 * np.cos((along / 0.62 + 0.3 * box.salt - patch - 0.5) * 2 * np.pi))[..., None]
    lit = base * (style.above + style.street * np.exp(-up * 0.6)[..., None] + wash * soft * 3.2)
    lit = lit * (0.8 + 0.2 * np.clip(np.abs(high) * 6 - 2.2, -1, 1) * near)[..., None]
    shine = shine * (0.62 + 0.9 * np.clip(high + 0.25, 0, 1))
    return lit * (1 - glass)[..., None] + shine[..., None] * power[..., None] * lamp * (0.55 + 0.5 * style.neon)


def span(start: float, stop: float, limit: int) -> slice:
    return slice(
        int(np.clip(np.floor(min(start, stop)), 0, limit)), int(np.clip(np.ceil(max(start, stop)) + 1, 0, limit))
    )


def draw(canvas: Array, view: View, eye: float, style: Style, box: Box) -> None:
    """Paint one building over what is behind it: its front, and the side that faces the middle."""
    rows_total, cols_total = canvas.shape[:2]
    below = rows_total - view.above
    rows = np.arange(rows_total, dtype=np.float32) - below + 0.5
    bearing = view.columns
    front = span(*(view.width / 2 + view.focal * x / box.near for x in (box.left, box.right)), cols_total)
    blend(
        canvas,
        rows,
        front,
        np.full(front.stop - front.start, box.near, dtype=np.float32),
        bearing,
        view,
        eye,
        style,
        box,
        side=False,
    )
    inner = box.left if box.left > 0 else box.right if box.right < 0 else None
    if inner is None:
        return
    flank = span(*(view.width / 2 + view.focal * inner / z for z in (box.near, box.near + box.deep)), cols_total)
    angle = bearing[flank]
    depth = np.clip(inner / np.where(np.abs(angle) < 1e-4, 1e-4, angle), box.near, box.near + box.deep).astype(  # noqa: PLR2004 - no division by zero
        np.float32
    )
    blend(canvas, rows, flank, depth, bearing, view, eye, style, box, side=True)


def blend(
    canvas: Array,
    rows: Array,
    columns: slice,
    depth: Array,
    bearing: Array,
    view: View,
    eye: float,
    style: Style,
    box: Box,
    *,
    side: bool,
) -> None:
    """Paint the columns of one wall, from its top to the ground, through the haze at its depth."""
    if not len(depth):
        return
    top = (box.tall - eye) * view.focal / depth
    bottom = -eye * view.focal / depth
    first, last = np.searchsorted(rows, bottom.min() - 1), np.searchsorted(rows, top.max() + 1)
    if last <= first:
        return
    area = rows[first:last, None]
    up = area * depth / view.focal + eye
    along = np.broadcast_to(depth if side else bearing[columns] * depth - box.left, up.shape)
    scale = view.focal / depth * (np.abs(bearing[columns]) if side else 1.0)
    paint = wall(style, box, along, up, scale, side=side)
    air = (1 - np.exp(-np.maximum(depth - 1.5, 0) * style.thick))[None, :, None] * (
        0.55 + 0.45 * np.exp(-np.clip(up, 0, None) * 0.22)
    )[..., None]
    paint = paint * (1 - air) + style.haze * air
    cover = (np.clip(top - area + 0.5, 0, 1) * np.clip(area - bottom + 0.5, 0, 1))[..., None]
    part = canvas[first:last, columns]
    part *= 1 - cover
    part += paint * cover


def canyon(dice: np.random.Generator) -> list[Box]:
    """Line a street with buildings on both sides, and close it with towers far away; the farthest first."""
    boxes = []
    for side in (-1, 1):
        z = 0.75
        while z < 26:  # noqa: PLR2004 - where the far towers begin
            deep = dice.uniform(0.7, 1.9) * (1 + z * 0.05)
            inner = 0.92 + dice.choice([0.0, 0.0, 0.1, 0.22])
            tall = dice.uniform(1.2, 2.9) + z * dice.uniform(0.0, 0.17) + (dice.random() < 0.22) * dice.uniform(1, 3.5)  # noqa: PLR2004 - one in four is a tower
            outer = inner + dice.uniform(1.5, 3.0)
            left, right = (inner, outer) if side > 0 else (-outer, -inner)
            boxes.append(Box(left, right, z, deep, tall, int(dice.integers(1, 9999))))
            z += deep + (dice.random() < 0.22) * dice.uniform(0.2, 0.6)  # noqa: PLR2004 - how often an alley opens
    for _ in range(20):
        x, wide = dice.normal(0, 6.5), dice.uniform(0.7, 1.5)
        boxes.append(
            Box(x - wide, x + wide, dice.uniform(27, 44), 1.5, 2.5 + dice.gamma(2.0, 2.1), int(dice.integers(1, 9999)))
        )
    return sorted(boxes, key=lambda box: -box.near)


def styled(sky: Array, shade: Array, *, neon: bool) -> Style:
    """Choose how the walls look at night, in plain light or in that of neon signs."""
    low = sky[: max(4, sky.shape[0] // 8)].mean(axis=(0, 1))
    if neon:
        haze = low * 0.75 + linear("#8a3ab0") * 0.1
        return Style(linear("#34364c"), shade * 0.7 + 0.07, linear("#c03a9a") * 1.5, 0.27, 1.0, haze, 0.085)
    return Style(linear("#30343f"), shade * 0.7 + 0.02, linear("#c08048") * 0.7, 0.36, 0.12, low * 0.8, 0.05)


def haze_band(canvas: Array, view: View, colour: Array, strength: float) -> None:
    """Lay the glow of the streets into the air just above the horizon."""
    rows = np.arange(canvas.shape[0], dtype=np.float32) - (canvas.shape[0] - view.above)
    veil = (np.exp(-np.abs(rows) / (0.1 * view.height)) * strength)[:, None, None]
    middle = (0.45 + 0.55 * (1 - ramp(0.0, 0.5, np.abs(view.columns))))[None, :, None]
    canvas += colour * veil * middle
