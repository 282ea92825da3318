"""Paints a scene in stages: the sky, the land or city below it, and the weather."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from painter import sky, skyline
from painter.develop import develop, fog, rain
from painter.mountains import raise_mountains
from painter.noise import Array, cover, fbm, line, rng, soften
from painter.palette import HOURS, linear
from painter.sky import haze_colour
from painter.view import View
from painter.water import water

if TYPE_CHECKING:
    from collections.abc import Generator

    from painter.scene import Scene

_FINE = 2
"""Silhouettes are drawn this many times larger and averaged down."""
STAGES = 5
"""How many times :func:`paint` yields. The last value is the picture."""
_HORIZONS = {"sea": 0.52, "mountains": 0.54, "hills": 0.46, "forest": 0.6, "city": 0.66}
_VEILS = {"rain": 0.6, "fog": 0.4, "cloudy": 0.3}
_SNOW = "#eef3fa"
_LEAVES = ("#2c4028", "#d8952a", "#b8481f", "#8a5524")
"""The colours of leaves: of conifers first, then of other trees in autumn."""


def paint(scene: Scene, width: int, height: int, seed: int, detail: float = 1.0) -> Generator[Image.Image | None]:
    """Yield ``None`` at the end of each stage, and the picture at the end of the last stage.

    ``detail``, from 0 to 1, is how fine the details are. The same arguments give the same pixels.
    """
    view = _framed(scene, width, height, seed ^ (scene.key << 20))
    air = sky.clear(view)
    yield None
    sky.clouds(air, view)
    yield None
    upward = np.concatenate([np.repeat(air[:1], view.below, axis=0), air])
    canvas = upward[:height][::-1]
    match scene.ground:
        case "mountains":
            raise_mountains(upward, view, air)
            _bank(canvas, view, air)
        case "sea":
            deep = linear("#1d6f86" if scene.hour == "day" else "#1c3a48")
            upward[: view.below] = water(view, air, rough=0.62, body=deep)[::-1]
        case "city":
            skyline.stand(upward, view, haze_colour(air, view).mean(axis=0))
            if "water" in scene.shows:
                upward[: view.below] = water(view, upward[view.below :], rough=0.5, body=linear("#1c3a48"))[::-1]
        case "hills":
            _hills(canvas, view, air)
        case _:
            _forest(canvas, view, air)
    yield None
    if "fog" in scene.shows:
        fog(canvas, view)
    if "rain" in scene.shows:
        rain(canvas, view)
    yield None
    yield develop(canvas if detail == 1 else soften(canvas, 4 - 3 * detail), view)


def _framed(scene: Scene, width: int, height: int, seed: int) -> View:
    """Place the camera so that the sky has its share. Tall pictures show a narrower view."""
    dice = rng(seed, "landscape")
    tall = height > width
    horizon = _HORIZONS[scene.ground] + (0.04 if tall else 0) + dice.uniform(-0.025, 0.025)
    focal = 0.82 * max(width, 0.8 * height)
    bearing = float(dice.choice([-1, 1]) * dice.uniform(0.05, 0.3)) * (0.55 if tall else 1)
    light = HOURS[scene.hour].overcast(max((_VEILS[veil] for veil in _VEILS.keys() & scene.shows), default=0.0))
    if "sun" in scene.shows:  # the sun stays above the ridges, and below the upper edge
        light = replace(light, elevation=float(np.clip(light.elevation, 0.15, 0.8 * horizon * height / focal)))
    return View(width, height, round(horizon * height), focal, 0.13, bearing, scene, light, seed)


def _bank(canvas: Array, view: View, air: Array) -> None:
    """Paint the near shore in a lower corner, with a few trees."""
    dice = rng(view.seed, "bank")
    width, height, light = view.width, view.height, view.light
    reach = dice.uniform(0.42, 0.62)
    x = np.linspace(0, 1, width)
    inward = x if view.bearing > 0 else 1 - x
    rise = np.clip(1 - inward / reach, 0, 1) ** 1.25 * height * dice.uniform(0.07, 0.13)
    ground = height - rise - (line(dice, width, 9, 5) * 0.006 + 0.004) * height * (rise > 0)
    pen = _Stencil(width, height)
    pen.ground(ground)
    for _ in range(int(dice.integers(5, 10))):
        at = dice.beta(1, 2.4) * reach * 0.72
        column = int((at if view.bearing > 0 else 1 - at) * (width - 1))
        tall = height * dice.uniform(0.24, 0.62) * (1 - at * 0.75)
        _conifer(pen, dice, column, float(ground[column]) + 4, tall)
    high = min(1.0, max(0.0, light.elevation - 0.08) / 0.14)
    tone = linear("#1c2018") * (light.shade * 0.5 + light.sun * 0.045) + linear("#2c3a20") * light.sun * 0.22 * high
    cover(canvas, pen.mask(), tone + haze_colour(air, view).mean(axis=0) * 0.012)


def _hills(canvas: Array, view: View, air: Array) -> None:
    """Paint hills from the distance to the viewer's feet. The nearer a hill, the less hazy it is."""
    dice = rng(view.seed, "hills")
    width, height, light = view.width, view.height, view.light
    colour = linear(_SNOW) * 0.9 if "snow" in view.scene.shows else linear("#6d8a3a")
    haze = haze_colour(air, view).mean(axis=0)
    rows = np.arange(height, dtype=np.float32)[:, None]
    for depth in (1.0, 0.74, 0.5, 0.28, 0.1):
        swell = line(dice, width, 2 + 3 * depth, 4, 0.38) * (0.035 + 0.02 * depth)
        crest = view.horizon + height * (0.42 * (1 - depth) ** 1.6 - swell)
        down = np.clip((rows - crest) / (0.3 * height), 0, 1)[..., None]
        patch = fbm(dice, (height, width), (16, 5 + 6 * depth), 5, 0.55)[..., None]
        ground = colour * (light.shade * 0.55 + light.sun * (0.3 - 0.14 * down)) * (1 + 0.07 * patch)
        veil = 0.82 * depth**1.3
        cover(canvas, np.clip(rows - crest + 0.5, 0, 1), ground * (1 - veil) + haze * veil)


def _forest(canvas: Array, view: View, air: Array) -> None:
    """Paint rows of trees, each nearer row darker and taller, with light in the air between them."""
    dice = rng(view.seed, "forest")
    width, height, light = view.width, view.height, view.light
    haze = haze_colour(air, view).mean(axis=0)
    snow = linear(_SNOW) * (light.shade * 0.5 + light.sun * 0.05) if "snow" in view.scene.shows else None
    codes = _LEAVES if "autumn" in view.scene.shows else _LEAVES[:1]
    leaves = [linear(code) * (light.shade * 0.6 + light.sun * 0.09) for code in codes]
    for row, depth in enumerate((1.0, 0.76, 0.55, 0.34, 0.16)):
        base = view.horizon + height * (0.4 * (1 - depth) ** 1.5 + 0.015)
        ground = base + line(dice, width, 4, 4) * height * 0.02
        soil, *pens = (_Stencil(width, height) for _ in range(1 + len(leaves)))
        soil.ground(ground)
        for _ in range(int((70, 56, 40, 18, 7)[row] * width / 1344 * (1.0 if width > height else 1.5))):
            x = dice.uniform(-0.02, 1.02)
            if row < 2 or abs(x - 0.5) > 0.07 + 0.05 * row:  # noqa: PLR2004 - nearer rows leave a glade
                tall = height * (0.17 + 0.8 * (1 - depth) ** 1.25) * dice.uniform(0.7, 1.2)
                foot = float(ground[int(np.clip(x * width, 0, width - 1))]) + 4
                kind = int(dice.integers(len(leaves)))
                (_broadleaf if kind else _conifer)(pens[kind], dice, x * width, foot, tall)
        air_before = haze * depth * 0.72
        floor = leaves[-1] * (1.5 - depth * 1.3) if snow is None else snow * (1.2 - 0.5 * depth)
        down = np.clip((np.arange(height) - base + height * 0.2) / (height * 0.3), 0, 1)[:, None, None]
        cover(canvas, soil.mask(), floor + air_before)
        for pen, leaf in zip(pens, leaves, strict=True):
            tone = leaf * (1.5 - depth * 1.3) + air_before
            cover(canvas, pen.mask(), tone * (1 + 0.25 * depth * down) + haze * 0.1 * depth * down)


class _Stencil:
    """A mask to draw silhouettes on, in pixels of the picture. ``mask`` returns each pixel's coverage, 0 to 1."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("L", (width * _FINE, height * _FINE))
        self.pen = ImageDraw.Draw(self._image)

    def ground(self, rows: Array) -> None:
        """Fill everything below a line of ground, which has a row for each column."""
        edge = [(float(column), float(row)) for column, row in enumerate(rows)]
        self.polygon([(0, 1e5), *edge, (len(rows), edge[-1][1]), (len(rows), 1e5)])

    def polygon(self, points: list[tuple[float, float]]) -> None:
        self.pen.polygon([(x * _FINE, y * _FINE) for x, y in points], fill=255)

    def mask(self) -> Array:
        return np.asarray(self._image.reduce(_FINE), dtype=np.float32) / 255


def _broadleaf(pen: _Stencil, dice: np.random.Generator, x: float, base: float, tall: float) -> None:
    """Draw a tree with a round crown: a trunk and clumps of leaves."""
    tall *= 0.8
    half = max(0.4, tall * 0.014)
    pen.polygon([(x - half, base), (x + half, base), (x, base - tall * 0.9)])
    for _ in range(170):
        turn, away, size = dice.uniform(0, 2 * np.pi), dice.uniform() ** 0.5, tall * dice.uniform(0.01, 0.045)
        middle = x + 0.22 * tall * away * np.cos(turn), base - tall * (0.64 + 0.3 * away * np.sin(turn))
        pen.pen.circle([side * _FINE for side in middle], size * _FINE, fill=255)


def _conifer(pen: _Stencil, dice: np.random.Generator, x: float, base: float, tall: float) -> None:
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
