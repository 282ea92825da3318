"""Small things in a landscape, drawn as silhouettes: boats, birds, houses, a castle, a lighthouse, a person."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from painter.trees import Stencil


def sailboat(pen: Stencil, x: float, base: float, size: float) -> None:
    pen.polygon(
        [
            (x - size * 0.34, base - size * 0.1),
            (x + size * 0.36, base - size * 0.1),
            (x + size * 0.24, base),
            (x - size * 0.26, base),
        ]
    )
    pen.stroke([(x, base), (x, base - size)], size * 0.018)
    pen.polygon(
        [
            (x + size * 0.03, base - size * 0.97),
            (x + size * 0.03, base - size * 0.15),
            (x + size * 0.36, base - size * 0.15),
        ]
    )
    pen.polygon(
        [
            (x - size * 0.03, base - size * 0.88),
            (x - size * 0.03, base - size * 0.15),
            (x - size * 0.25, base - size * 0.15),
        ]
    )


def rowboat(pen: Stencil, x: float, base: float, size: float) -> None:
    """Draw a small boat with someone in it."""
    pen.polygon(
        [(x - size * 0.5, base - size * 0.13), (x - size * 0.3, base), (x + size * 0.3, base),
         (x + size * 0.5, base - size * 0.13),
         (x + size * 0.3, base - size * 0.075), (x - size * 0.3, base - size * 0.075)]
    )  # fmt: skip
    pen.polygon(
        [
            (x - size * 0.07, base - size * 0.05),
            (x + size * 0.07, base - size * 0.05),
            (x + size * 0.035, base - size * 0.3),
            (x - size * 0.035, base - size * 0.3),
        ]
    )
    pen.dot(x, base - size * 0.345, size * 0.042)
    pen.stroke([(x + size * 0.03, base - size * 0.2), (x + size * 0.36, base + size * 0.02)], size * 0.014)


def birds(pen: Stencil, dice: np.random.Generator, x: float, y: float, spread: float, count: int) -> None:
    """Draw a loose flock, each a pair of bent wings."""
    for _ in range(count):
        size = spread * dice.uniform(0.045, 0.1)
        cx, cy = x + dice.normal(0, spread * 0.6), y + dice.normal(0, spread * 0.22)
        lift = dice.uniform(0.15, 0.75)
        for side in (-1, 1):
            wing = [
                (cx, cy),
                (cx + side * size * 0.5, cy - size * lift * 0.62),
                (cx + side * size, cy - size * lift * 0.35),
            ]
            pen.polygon(
                [*wing, (cx + side * size * 0.48, cy - size * lift * 0.62 + size * 0.13), (cx, cy + size * 0.12)]
            )


def house(pen: Stencil, x: float, base: float, size: float) -> list[tuple[float, float, float, float]]:
    """Draw a cabin; return its windows (left, top, right, bottom)."""
    pen.polygon(
        [
            (x - size * 0.5, base),
            (x - size * 0.5, base - size * 0.36),
            (x + size * 0.5, base - size * 0.36),
            (x + size * 0.5, base),
        ]
    )
    pen.polygon(
        [
            (x - size * 0.6, base - size * 0.33),
            (x - size * 0.34, base - size * 0.74),
            (x + size * 0.34, base - size * 0.74),
            (x + size * 0.6, base - size * 0.33),
        ]
    )
    pen.polygon(
        [
            (x + size * 0.16, base - size * 0.7),
            (x + size * 0.16, base - size * 0.9),
            (x + size * 0.27, base - size * 0.9),
            (x + size * 0.27, base - size * 0.7),
        ]
    )
    return [
        (x + size * at - size * 0.06, base - size * 0.26, x + size * at + size * 0.06, base - size * 0.11)
        for at in (-0.3, 0.0, 0.3)
    ]


def castle(
    pen: Stencil, dice: np.random.Generator, x: float, base: float, size: float
) -> list[tuple[float, float, float, float]]:
    """Draw a walled castle with towers; return its windows."""
    windows = []
    pen.polygon(
        [
            (x - size * 0.55, base),
            (x - size * 0.5, base - size * 0.32),
            (x + size * 0.5, base - size * 0.32),
            (x + size * 0.55, base),
        ]
    )
    for at in np.arange(-0.48, 0.49, 0.08):
        pen.polygon(
            [
                (x + size * at, base - size * 0.31),
                (x + size * at, base - size * 0.355),
                (x + size * (at + 0.04), base - size * 0.355),
                (x + size * (at + 0.04), base - size * 0.31),
            ]
        )
    for at in (-0.5, -0.24, 0.02, 0.27, 0.5):
        tall, wide = size * dice.uniform(0.5, 0.98 if abs(at) < 0.4 else 0.62), size * dice.uniform(0.055, 0.085)  # noqa: PLR2004 - inner towers are the tall ones
        cx = x + size * at
        pen.polygon([(cx - wide, base), (cx - wide, base - tall), (cx + wide, base - tall), (cx + wide, base)])
        pen.polygon([(cx - wide * 1.3, base - tall), (cx, base - tall - wide * 3.6), (cx + wide * 1.3, base - tall)])
        pen.stroke([(cx, base - tall - wide * 3.4), (cx, base - tall - wide * 4.4)], 1)
        windows.append((cx - wide * 0.22, base - tall * 0.86, cx + wide * 0.22, base - tall * 0.86 + wide * 0.8))
    return windows


def lighthouse(pen: Stencil, x: float, base: float, size: float) -> tuple[float, float]:
    """Draw a lighthouse; return where its lamp is."""
    pen.polygon(
        [
            (x - size * 0.1, base),
            (x - size * 0.06, base - size * 0.8),
            (x + size * 0.06, base - size * 0.8),
            (x + size * 0.1, base),
        ]
    )
    pen.polygon(
        [
            (x - size * 0.09, base - size * 0.8),
            (x - size * 0.09, base - size * 0.83),
            (x + size * 0.09, base - size * 0.83),
            (x + size * 0.09, base - size * 0.8),
        ]
    )
    pen.polygon([(x - size * 0.07, base - size * 0.93), (x, base - size * 1.02), (x + size * 0.07, base - size * 0.93)])
    for side in (-0.045, 0.045):
        pen.stroke([(x + size * side, base - size * 0.82), (x + size * side, base - size * 0.94)], size * 0.012)
    return x, base - size * 0.88


def person(pen: Stencil, x: float, base: float, size: float, *, umbrella: bool = False) -> None:
    """Draw someone in a long coat, seen from behind."""
    for side in (-1, 1):
        pen.polygon(
            [
                (x + side * size * 0.015, base - size * 0.42),
                (x + side * size * 0.09, base - size * 0.42),
                (x + side * size * 0.085, base),
                (x + side * size * 0.03, base),
            ]
        )
    pen.polygon(
        [
            (x - size * 0.1, base - size * 0.8),
            (x + size * 0.1, base - size * 0.8),
            (x + size * 0.15, base - size * 0.27),
            (x - size * 0.15, base - size * 0.27),
        ]
    )
    for side in (-1, 1):
        pen.stroke(
            [(x + side * size * 0.1, base - size * 0.77), (x + side * size * 0.155, base - size * 0.45)], size * 0.055
        )
    pen.dot(x, base - size * 0.81, size * 0.105, size * 0.05)
    pen.dot(x, base - size * 0.91, size * 0.062, size * 0.075)
    if umbrella:
        pen.stroke([(x + size * 0.15, base - size * 0.5), (x + size * 0.12, base - size * 1.15)], size * 0.016)
        arc = [
            (x + size * 0.1 + size * 0.42 * np.cos(a), base - size * 0.98 - size * 0.26 * np.sin(a))
            for a in np.linspace(0, np.pi, 24)
        ]
        pen.polygon(arc)
