"""From a scene and a seed to a picture, stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter import landscape, town, weather
from painter.grade import develop
from painter.palette import HOURS, linear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from painter.palette import Palette
    from painter.scene import Scene

STAGES = 8
"""How many times :func:`paint` yields before its picture is ready."""


def palette(scene: Scene) -> Palette:
    """Choose the light: the hour, then the weather, then a colour or a mood that the prompt names."""
    light = HOURS[scene.hour]
    for veil, amount in (("storm", 0.85), ("rain", 0.6), ("fog", 0.4), ("cloudy", 0.3)):
        if veil in scene.shows:
            light = light.overcast(amount)
            break
    if scene.tints:
        light = light.tinted(np.mean([linear(code) for code in scene.tints], axis=0), 0.34)
    return light


def paint(scene: Scene, width: int, height: int, seed: int, detail: float = 1.0) -> Iterator[Image.Image | None]:
    """Yield ``None`` as each stage ends, ``STAGES`` times, then the picture.

    ``detail``, 0 to 1, is how finely the shapes are worked out. The same arguments give the same pixels.
    """
    light = palette(scene)
    mix = seed ^ (scene.key << 20)
    place = town if scene.ground == "street" else landscape
    parts = place.paint(scene, light, width, height, mix, detail)
    for part in parts:
        if part is None:
            yield None
        else:
            canvas, horizon = part
    if "fog" in scene.shows:
        weather.fog(canvas, light.haze * 0.9 + 0.03, horizon, mix, 0.75)
    if "rain" in scene.shows:
        weather.rain(canvas, mix, 0.9)
    if "snowfall" in scene.shows:
        weather.snow(canvas, mix, float(np.clip(light.haze.mean() * 2.4, 0.3, 1.1)))
    yield None
    colour = 0.0 if "grey" in scene.shows else 1.4 if "vivid" in scene.shows else 1.0
    glow = 1.5 if "neon" in scene.shows else 0.75 if scene.hour == "night" else 0.55
    yield develop(canvas, mix, exposure=light.exposure, glow=glow, colour=colour)
