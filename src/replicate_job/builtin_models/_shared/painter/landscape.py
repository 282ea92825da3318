"""Landscape pictures: mountains, hills, dunes, sea, forest; with or without water."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from painter import cloud, relief, sky, trees, weather
from painter.land import Cover, haze_colour, land, lit
from painter.noise import Array, line, octave, resize, rng
from painter.palette import linear
from painter.view import framed
from painter.water import water

if TYPE_CHECKING:
    from collections.abc import Iterator

    from painter.palette import Palette
    from painter.relief import Relief
    from painter.scene import Scene
    from painter.view import View


GREEN = "#3c9c50"
"""The tint that is for the grass, not for flowers."""


def paint(
    scene: Scene, light: Palette, width: int, height: int, seed: int, detail: float
) -> Iterator[tuple[Array, int] | None]:
    """Paint a landscape; yields ``None`` seven times, then the canvas (linear light) and its horizon row."""
    dice = rng(seed, "landscape")
    flooded = scene.ground in {"sea", "mountains"}
    tall = height > width
    horizon = {"sea": 0.52, "mountains": 0.54, "hills": 0.46, "forest": 0.6}[scene.ground]
    view = framed(
        width, height, horizon + (0.04 if tall else 0) + dice.uniform(-0.025, 0.025), 0.13 if flooded else 0.42
    )
    bearing = float(dice.choice([-1, 1]) * dice.uniform(0.05, 0.3)) * (0.55 if tall else 1)
    if "sun" in scene.shows:  # above the ridges, and below the upper edge
        light = replace(light, elevation=float(np.clip(light.elevation, 0.15, 0.8 * view.horizon / view.focal)))
    air = heavens(scene, light, view, seed, bearing)
    yield None
    vapour(scene, light, air, view, seed, bearing)
    yield None
    fine = (0.55 + 0.45 * detail) * min(1.0, 0.45 + 0.55 * max(width, height) / 1344)
    field, cover = terrain(scene, seed, fine, bearing)
    colours = lit(field, cover, light, 1.0 if bearing > 0 else -1.0, seed)
    yield None
    below = height - view.horizon
    picture, alpha = land(view, field, colours, light, cover, view.eye, air, below)
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[: view.horizon] = air[: view.horizon][::-1]
    canvas[view.horizon :] = air[:1]
    far_woods = flooded and scene.ground == "mountains"
    yield None
    if flooded:
        mirrored, cover_up = land(view, field, colours, light, cover, -view.eye, air, 0)
        mirrored = air * (1 - cover_up[..., None]) + mirrored * cover_up[..., None]
        if far_woods:
            shore(mirrored, view, light, air, seed, 0)
        rough = (0.62 if scene.ground == "sea" else 0.09) * (1.6 if "storm" in scene.shows else 1.0)
        body = linear("#1d6f86") if scene.ground == "sea" and light.elevation > 0.15 else linear("#1c3a48")  # noqa: PLR2004 - under a high sun
        canvas[view.horizon :] = water(view, mirrored, light, seed, bearing, rough=rough, body=body)
    yield None
    whole, mask = picture[: below + view.horizon], alpha[: below + view.horizon]
    upward = canvas[::-1]
    trees.cover(upward, mask, whole)
    if far_woods:
        shore(upward, view, light, air, seed, below)
    yield None
    foreground(scene, light, canvas, view, seed, bearing, air)
    yield None
    yield canvas, view.horizon


def heavens(scene: Scene, light: Palette, view: View, seed: int, bearing: float) -> Array:
    """Paint the sky without clouds."""
    air = sky.gradient(view, light)
    hidden = bool(scene.shows & {"rain", "storm", "fog"})
    night = scene.hour == "night"
    if light.stars and not hidden:
        sky.stars(air, view, light.stars * (1.15 if "stars" in scene.shows else 0.8), seed)
    if not night:
        sky.glow(air, view, light, bearing)
    if "aurora" in scene.shows:
        sky.aurora(air, view, seed)
    if "moon" in scene.shows or (night and not hidden and "stars" not in scene.shows and "aurora" not in scene.shows):
        top = (view.horizon / view.focal) * 0.74
        sky.moon(air, view, bearing, top, 0.042 if night else 0.03, seed)
    if not night and not hidden:
        sky.sun(air, view, light, bearing)
    return air


def vapour(scene: Scene, light: Palette, air: Array, view: View, seed: int, bearing: float) -> None:
    """Add clouds by the weather; a storm has lightning."""
    cover = rng(seed, "cover").uniform(0.42, 0.62)
    for name, amount in (("sun", 0.15), ("clear", 0.05), ("cloudy", 0.75), ("rain", 0.85), ("storm", 0.92)):
        if name in scene.shows:
            cover = amount
    if scene.hour == "night" and not scene.shows & {"cloudy", "rain", "storm"}:
        cover = 0.0 if {"stars", "aurora"} & scene.shows else 0.1 if "moon" in scene.shows else 0.34
    cloud.clouds(air, view, light, bearing, cover, seed)
    if "storm" in scene.shows:
        weather.lightning(air, seed)


def terrain(scene: Scene, seed: int, fine: float, bearing: float) -> tuple[Relief, Cover]:
    """Shape the land and choose what covers it."""
    winter, green = "snow" in scene.shows, linear("#4c5f35")
    snow, rock = linear("#eef3fa"), linear("#6f6a68")
    if scene.ground == "sea":
        return relief.islands(seed, fine), Cover(linear("#3d5240"), linear("#6b655c"), snow, 9.0, 0.6, 0.11)
    if scene.ground in {"hills", "forest"}:
        grass = snow * 0.9 if winter else linear("#6d8a3a")
        return relief.hills(seed, fine), Cover(grass, grass * 0.8, snow, 99, 99, 0.07, 0.5)
    line_of_snow = 0.25 if winter else rng(seed, "snowline").uniform(0.85, 1.35)
    return relief.mountains(seed, fine, bearing), Cover(
        snow * 0.8 if winter else green * 0.7, rock, snow, line_of_snow, 0.5, 0.075
    )


def shore(upward: Array, view: View, light: Palette, air: Array, seed: int, below: int) -> None:
    """Stand woods along the far shore; ``upward`` has its rows upward from ``-below`` (0: the mirrored picture)."""
    dice = rng(seed, "shore")
    tall = 0.17 * view.focal / 5.2
    top = trees.woods(dice, view.width, tall, 1.4)
    bend = resize(octave(dice, (8, 64), (2, 6))[:1], 1, view.width)[0] * 0.35 + 5.1
    foot = view.eye * view.focal / bend
    rows = (np.arange(upward.shape[0], dtype=np.float32) - below)[:, None]
    base = -foot if below else foot
    mask = np.clip(base + top - rows + 0.5, 0, 1) * np.clip(rows - (base - 1.5 if below else -1), 0, 1)
    dark = linear("#22301f") * (light.shade * 0.75 + light.sun * 0.1)
    height = np.clip((rows - base) / tall, 0, 1)[..., None]
    haze = haze_colour(air, light)[None, :, :]
    tone = dark * (0.75 + 0.6 * height) * 0.8 + haze * (0.13 + 0.06 * (1 - height))
    trees.cover(upward, mask, tone)


def foreground(scene: Scene, light: Palette, canvas: Array, view: View, seed: int, bearing: float, air: Array) -> None:
    """Stand the near things in front: birds, a bank with trees, a forest, a meadow."""
    dice = rng(seed, "foreground")
    side = -1 if bearing > 0 else 1
    haze = haze_colour(air, light).mean(axis=0)
    if scene.ground == "forest":
        forest(scene, light, canvas, view, dice, haze)
    pen = trees.Stencil(view.width, view.height)
    if "birds" in scene.shows:
        place = view.width * (0.5 + bearing * 0.9), view.height * 0.26
        trees.birds(pen, dice, *place, view.width * 0.1, int(dice.integers(5, 12)))
    if scene.ground == "mountains":
        bank(pen, view, dice, side)
    high = min(1.0, max(0.0, light.elevation - 0.08) / 0.14)
    dark = (
        linear("#1c2018") * (light.shade * 0.5 + light.sun * 0.045)
        + haze * 0.012
        + linear("#2c3a20") * light.sun * 0.22 * high
    )
    trees.cover(canvas, pen.mask(), dark)
    if scene.ground == "hills" and "snow" not in scene.shows:
        meadow(scene, light, canvas, view, dice)


def bank(pen: trees.Stencil, view: View, dice: np.random.Generator, side: int) -> None:
    """Draw the near shore in one lower corner, with grass and a few trees."""
    width, height = view.width, view.height
    reach = dice.uniform(0.42, 0.62)
    x = np.linspace(0, 1, width)
    inward = x if side < 0 else 1 - x
    rise = np.clip(1 - inward / reach, 0, 1) ** 1.25 * height * dice.uniform(0.07, 0.13)
    ground = height - rise - (line(dice, width, 9, 5) * 0.006 + 0.004) * height * (rise > 0)
    pen.polygon([(0, height), *zip(range(width), ground.tolist(), strict=True), (width, height)])
    trees.grass(
        pen, dice, np.where(rise > height * 0.004, ground, height + 60), height * 0.045, int(900 * width / 1344)
    )
    for _ in range(int(dice.integers(4, 8))):
        at = dice.beta(1, 2.4) * reach * 0.72
        place = (at if side < 0 else 1 - at) * width
        tall = height * dice.uniform(0.24, 0.62) * (1 - at * 0.75)
        base = float(ground[int(np.clip(place, 0, width - 1))]) + 4
        trees.conifer(pen, dice, place, base, tall)


def forest(scene: Scene, light: Palette, canvas: Array, view: View, dice: np.random.Generator, haze: Array) -> None:
    """Stand rows of trees, each nearer row darker and taller, with light in the air between them."""
    width, height = view.width, view.height
    snow = linear("#eef3fa") * (light.shade * 0.5 + light.sun * 0.05) if "snow" in scene.shows else None
    leaf = linear("#2c4028") * (light.shade * 0.6 + light.sun * 0.09)
    for row, depth in enumerate((1.0, 0.76, 0.55, 0.34, 0.16)):
        pen = trees.Stencil(width, height)
        base = view.horizon + height * (0.4 * (1 - depth) ** 1.5 + 0.015)
        ground = base + line(dice, width, 4, 4) * height * 0.02
        soil = [(0, height), *zip(range(width), ground.tolist(), strict=True), (width, height)]
        if snow is None:
            pen.polygon(soil)
        else:
            field = trees.Stencil(width, height)
            field.polygon(soil)
            trees.cover(canvas, field.mask(), snow * (1.2 - 0.5 * depth) + haze * depth * 0.72)
        for _ in range(int((46, 34, 22, 11, 5)[row] * width / 1344 * (1.0 if width > height else 1.5))):
            x = dice.uniform(-0.02, 1.02)
            if row > 1 and abs(x - 0.5) < 0.07 + 0.05 * row:
                continue
            tall = height * (0.17 + 0.8 * (1 - depth) ** 1.25) * dice.uniform(0.7, 1.2)
            foot = float(ground[int(np.clip(x * width, 0, width - 1))]) + 4
            trees.conifer(pen, dice, x * width, foot, tall)
        tone = leaf * (1.5 - depth * 1.3) + haze * depth * 0.72
        down = np.clip((np.arange(height) - base + height * 0.2) / (height * 0.3), 0, 1)[:, None, None]
        trees.cover(canvas, pen.mask(), tone * (1 + 0.25 * depth * down) + haze * 0.1 * depth * down)


def meadow(scene: Scene, light: Palette, canvas: Array, view: View, dice: np.random.Generator) -> None:
    """Cover the near ground with grass and, where asked for, flowers; the blades are lit by the sky."""
    width, height = view.width, view.height
    for layer, at in enumerate((0.9, 0.955, 1.01)):
        pen = trees.Stencil(width, height)
        ground = height * at + line(dice, width, 5, 4) * height * 0.012
        trees.grass(pen, dice, ground, height * (0.04 + 0.028 * layer), int(1500 * width / 1344))
        pen.polygon([(0, height), *zip(range(width), (ground + 1).tolist(), strict=True), (width, height)])
        tone = linear("#4f6a26") * (light.shade * 0.5 + light.sun * (0.2 - 0.06 * layer))
        trees.cover(canvas, pen.mask(), tone)
        if "flowers" in scene.shows:
            bloom = trees.Stencil(width, height)
            for _ in range(int(170 * width / 1344)):
                size = height * dice.uniform(0.003, 0.0065) * (1 + layer * 0.4)
                bloom.dot(dice.uniform(0, width), height * (at - dice.uniform(-0.01, 0.06)), size, size * 0.8)
            tints = [code for code in scene.tints if code != GREEN]
            colour = linear(str(dice.choice(tints or ("#e04a3a", "#f0c840", "#b070e0", "#f4f0f8"))))
            trees.cover(canvas, bloom.mask(), colour * (light.shade * 0.5 + light.sun * 0.3))
