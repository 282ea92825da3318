"""A city: rows of towers, nearer ones darker, with windows that are lit after sunset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, rng
from painter.palette import linear

if TYPE_CHECKING:
    from painter.view import View

_LAMPS = np.stack([linear(code) for code in ("#ffcf8a", "#ffe6bf", "#cfe6ff", "#ffb868")])
_LIT = {"night": 0.42, "dusk": 0.3, "sunset": 0.1}
"""The share of windows with light, by hour."""

_ROWS = (
    (1.0, 0.8, 1.0, 0.75), (1.0, 0.62, 1.0, 0.4), (0.9, 0.38, 1.1, 0.2), (0.5, 0.3, 1.4, 0.1), (0.0, 0.36, 1.9, 0.0)
)  # fmt: skip
"""Rows of towers, the farthest first: each row's foot (1 is the horizon, 0 the lower edge), height, width and haze.
A picture with water has no towers of the two nearest rows."""


def stand(upward: Array, view: View, haze: Array) -> None:
    """Paint the towers into a canvas whose lowest row is row 0.

    With water, the towers stand behind a shore at the horizon. Without water, there are nearer towers too.
    """
    dice = rng(view.seed, "skyline")
    size = min(view.width, view.height)
    middle = dice.uniform(0.35, 0.65)
    shore = max(1, round(0.012 * view.height)) if "water" in view.scene.shows else 0
    for foot, high, broad, depth in _ROWS[:3] if shore else _ROWS:
        column = -dice.uniform(0, 0.1) * size
        while column < view.width:
            wide = size * broad * dice.uniform(0.06, 0.13)
            near = np.exp(-(((column / view.width - middle) / 0.3) ** 2))
            tall = view.horizon * high * (0.3 + 0.7 * near) * dice.uniform(0.45, 1.0)
            _tower(upward, view, dice, (column, wide, foot * view.below + tall, depth), haze)
            column += wide * dice.uniform(0.85, 1.2)
    upward[view.below : view.below + shore] = linear("#20242c") * (view.light.shade + view.light.sun * 0.1)


def _tower(upward: Array, view: View, dice: np.random.Generator, box: tuple[float, ...], haze: Array) -> None:
    """Paint one tower. ``box``: its column, width and highest row in pixels, and the haze before it, from 0 to 1."""
    column, wide, tall = (round(side) for side in box[:3])
    depth = box[3]
    cell = max(3, round(min(view.width, view.height) * (0.016 - 0.006 * depth)))
    rows, across = max(2, tall // cell), max(2, wide // cell)
    light = view.light
    wall = linear("#5a6070") * dice.uniform(0.6, 1.2) * (light.shade * 0.6 + light.sun * dice.uniform(0.04, 0.2))
    glass = wall * 0.6 + haze * 0.12
    on = dice.random((rows, across)) < _LIT.get(view.scene.hour, 0.0) * dice.uniform(0.5, 1.3)
    lamps = _LAMPS[dice.integers(0, len(_LAMPS), on.shape)] * dice.uniform(0.4, 1.3, (*on.shape, 1))
    panes = np.where(on[..., None], lamps, glass)
    frame = np.zeros((cell, cell, 1), dtype=np.float32)
    frame[1 : max(2, cell * 3 // 4), 1 : max(2, cell * 3 // 4)] = 1
    front = wall + np.kron(panes - wall, frame)
    left, right = max(0, column), min(view.width, column + front.shape[1])
    if left < right:
        part = upward[: front.shape[0], left:right]
        seen = front[: part.shape[0], left - column : right - column]
        part[:] = seen * (1 - 0.75 * depth) + haze * 0.75 * depth
