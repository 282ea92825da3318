"""From a scene and a seed to a picture, stage by stage: a sky, what stands under it, the weather."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from painter import relief, sky, skyline, trees, weather
from painter.grade import develop
from painter.land import haze_colour, land, lit
from painter.noise import Array, fbm, line, octave, resize, rng
from painter.palette import HOURS, linear
from painter.view import View
from painter.water import water

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from painter.palette import Palette
    from painter.scene import Scene

STAGES = 4
"""How many times :func:`paint` yields before its picture is ready."""
_HORIZONS = {"sea": 0.52, "mountains": 0.54, "hills": 0.46, "forest": 0.6, "city": 0.66}
_VEILS = {"rain": 0.6, "fog": 0.4, "cloudy": 0.3}
_SNOW = "#eef3fa"


def paint(scene: Scene, width: int, height: int, seed: int, detail: float = 1.0) -> Iterator[Image.Image | None]:
    """Yield ``None`` as each stage ends, ``STAGES`` times, then the picture.

    ``detail``, 0 to 1, is how finely the shapes are worked out. The same arguments give the same pixels.
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
            _mountains(upward, view, air, (0.55 + 0.45 * detail) * min(1.0, 0.45 + 0.55 * max(width, height) / 1344))
            _bank(canvas, view, air)
        case "sea":
            deep = linear("#1d6f86" if scene.hour == "day" else "#1c3a48")
            upward[: view.below] = water(view, air, rough=0.62, body=deep)[::-1]
        case "city":
            skyline.stand(air, view, haze_colour(air, view).mean(axis=0))
            upward[view.below :] = air
            upward[: view.below] = water(view, air, rough=0.28, body=linear("#1c3a48"))[::-1]
        case "hills":
            _hills(canvas, view, air)
        case _:
            _forest(canvas, view, air)
    yield None
    yield from _finished(canvas, view)


def _framed(scene: Scene, width: int, height: int, seed: int) -> View:
    """Stand so that the sky has its share; tall pictures look a little narrower."""
    dice = rng(seed, "landscape")
    tall = height > width
    horizon = _HORIZONS[scene.ground] + (0.04 if tall else 0) + dice.uniform(-0.025, 0.025)
    focal = 0.82 * max(width, 0.8 * height)
    bearing = float(dice.choice([-1, 1]) * dice.uniform(0.05, 0.3)) * (0.55 if tall else 1)
    light = _light(scene)
    if "sun" in scene.shows:  # above the ridges, and below the upper edge
        light = replace(light, elevation=float(np.clip(light.elevation, 0.15, 0.8 * horizon * height / focal)))
    return View(width, height, round(horizon * height), focal, 0.13, bearing, scene, light, seed)


def _light(scene: Scene) -> Palette:
    """Choose the light: the hour, then the weather."""
    return HOURS[scene.hour].overcast(max((_VEILS[veil] for veil in _VEILS.keys() & scene.shows), default=0.0))


def _finished(canvas: Array, view: View) -> Iterator[Image.Image | None]:
    """Lay the weather before the picture, and develop it."""
    scene, light = view.scene, view.light
    if "fog" in scene.shows:
        weather.fog(canvas, light.haze * 0.9 + 0.03, view.horizon, view.seed, 0.75)
    if "rain" in scene.shows:
        weather.rain(canvas, view.seed, 0.9)
    if "snowfall" in scene.shows:
        weather.snow(canvas, view.seed, float(np.clip(light.haze.mean() * 2.4, 0.3, 1.1)))
    yield None
    yield develop(
        canvas,
        view.seed,
        exposure=light.exposure,
        glow=0.75 if scene.hour == "night" else 0.55,
        colour=0.0 if "grey" in scene.shows else 1.0,
    )


def _mountains(upward: Array, view: View, air: Array, fine: float) -> None:
    """Raise mountains and woods behind a lake, and mirror them in it."""
    field = relief.mountains(view.seed, fine, view.bearing)
    colours = lit(field, view)
    mirrored = air.copy()
    land(mirrored, view, field, colours, -view.eye, air)
    _shore(mirrored, view, air)
    upward[: view.below] = water(view, mirrored, rough=0.09, body=linear("#1c3a48"))[::-1]
    land(upward, view, field, colours, view.eye, air)
    _shore(upward, view, air)


def _shore(upward: Array, view: View, air: Array) -> None:
    """Stand woods along the far shore."""
    dice = rng(view.seed, "shore")
    below = upward.shape[0] - view.above
    tall = 0.17 * view.focal / 5.2
    top = trees.woods(dice, view.width, tall, 1.4)
    bend = resize(octave(dice, (8, 64), (2, 6))[:1], 1, view.width)[0] * 0.35 + 5.1
    foot = view.eye * view.focal / bend
    rows = (np.arange(upward.shape[0], dtype=np.float32) - below)[:, None]
    base = -foot if below else foot
    mask = np.clip(base + top - rows + 0.5, 0, 1) * np.clip(rows - (base - 1.5 if below else -1), 0, 1)
    dark = linear("#22301f") * (view.light.shade * 0.75 + view.light.sun * 0.1)
    height = np.clip((rows - base) / tall, 0, 1)[..., None]
    tone = dark * (0.75 + 0.6 * height) * 0.8 + haze_colour(air, view) * (0.13 + 0.06 * (1 - height))
    trees.cover(upward, mask, tone)


def _bank(canvas: Array, view: View, air: Array) -> None:
    """Stand the near shore in one lower corner, with grass and a few trees."""
    dice = rng(view.seed, "bank")
    width, height, light = view.width, view.height, view.light
    reach = dice.uniform(0.42, 0.62)
    x = np.linspace(0, 1, width)
    inward = x if view.bearing > 0 else 1 - x
    rise = np.clip(1 - inward / reach, 0, 1) ** 1.25 * height * dice.uniform(0.07, 0.13)
    ground = height - rise - (line(dice, width, 9, 5) * 0.006 + 0.004) * height * (rise > 0)
    pen = trees.Stencil(width, height)
    pen.ground(ground)
    trees.grass(pen, dice, np.where(rise > height * 0.004, ground, height + 60), height * 0.045, 900 * width // 1344)
    for _ in range(int(dice.integers(4, 8))):
        at = dice.beta(1, 2.4) * reach * 0.72
        column = int((at if view.bearing > 0 else 1 - at) * (width - 1))
        tall = height * dice.uniform(0.24, 0.62) * (1 - at * 0.75)
        trees.conifer(pen, dice, column, float(ground[column]) + 4, tall)
    high = min(1.0, max(0.0, light.elevation - 0.08) / 0.14)
    tone = linear("#1c2018") * (light.shade * 0.5 + light.sun * 0.045) + linear("#2c3a20") * light.sun * 0.22 * high
    trees.cover(canvas, pen.mask(), tone + haze_colour(air, view).mean(axis=0) * 0.012)


def _hills(canvas: Array, view: View, air: Array) -> None:
    """Roll hills from the distance to the viewer's feet, each nearer one less hazy; grass grows on the nearest."""
    dice = rng(view.seed, "hills")
    width, height, light = view.width, view.height, view.light
    winter = "snow" in view.scene.shows
    colour = linear(_SNOW) * 0.9 if winter else linear("#6d8a3a")
    haze = haze_colour(air, view).mean(axis=0)
    rows = np.arange(height, dtype=np.float32)[:, None]
    for depth in (1.0, 0.74, 0.5, 0.28, 0.1):
        swell = line(dice, width, 2 + 3 * depth, 4, 0.38) * (0.035 + 0.02 * depth)
        crest = view.horizon + height * (0.42 * (1 - depth) ** 1.6 - swell)
        down = np.clip((rows - crest) / (0.3 * height), 0, 1)[..., None]
        patch = fbm(dice, (height, width), (16, 5 + 6 * depth), 5, 0.55)[..., None]
        ground = colour * (light.shade * 0.55 + light.sun * (0.3 - 0.14 * down)) * (1 + 0.07 * patch)
        veil = 0.82 * depth**1.3
        trees.cover(canvas, np.clip(rows - crest + 0.5, 0, 1), ground * (1 - veil) + haze * veil)
    if not winter:
        _meadow(canvas, view, dice)


def _meadow(canvas: Array, view: View, dice: np.random.Generator) -> None:
    """Cover the near ground with blades of grass that the sky lights."""
    width, height, light = view.width, view.height, view.light
    for layer, at in enumerate((0.9, 0.955, 1.01)):
        pen = trees.Stencil(width, height)
        ground = height * at + line(dice, width, 5, 4) * height * 0.012
        trees.grass(pen, dice, ground, height * (0.04 + 0.028 * layer), 1500 * width // 1344)
        pen.ground(ground + 1)
        tone = linear("#4f6a26") * (light.shade * 0.5 + light.sun * (0.2 - 0.06 * layer))
        trees.cover(canvas, pen.mask(), tone)


def _forest(canvas: Array, view: View, air: Array) -> None:
    """Stand rows of trees, each nearer row darker and taller, with light in the air between them."""
    dice = rng(view.seed, "forest")
    width, height, light = view.width, view.height, view.light
    haze = haze_colour(air, view).mean(axis=0)
    snow = linear(_SNOW) * (light.shade * 0.5 + light.sun * 0.05) if "snow" in view.scene.shows else None
    leaf = linear("#2c4028") * (light.shade * 0.6 + light.sun * 0.09)
    for row, depth in enumerate((1.0, 0.76, 0.55, 0.34, 0.16)):
        base = view.horizon + height * (0.4 * (1 - depth) ** 1.5 + 0.015)
        ground = base + line(dice, width, 4, 4) * height * 0.02
        soil, pen = trees.Stencil(width, height), trees.Stencil(width, height)
        soil.ground(ground)
        for _ in range(int((46, 34, 22, 11, 5)[row] * width / 1344 * (1.0 if width > height else 1.5))):
            x = dice.uniform(-0.02, 1.02)
            if row < 2 or abs(x - 0.5) > 0.07 + 0.05 * row:  # noqa: PLR2004 - nearer rows leave a glade
                tall = height * (0.17 + 0.8 * (1 - depth) ** 1.25) * dice.uniform(0.7, 1.2)
                foot = float(ground[int(np.clip(x * width, 0, width - 1))]) + 4
                trees.conifer(pen, dice, x * width, foot, tall)
        tone = leaf * (1.5 - depth * 1.3) + haze * depth * 0.72
        floor = tone if snow is None else snow * (1.2 - 0.5 * depth) + haze * depth * 0.72
        down = np.clip((np.arange(height) - base + height * 0.2) / (height * 0.3), 0, 1)[:, None, None]
        trees.cover(canvas, soil.mask(), floor)
        trees.cover(canvas, pen.mask(), tone * (1 + 0.25 * depth * down) + haze * 0.1 * depth * down)
