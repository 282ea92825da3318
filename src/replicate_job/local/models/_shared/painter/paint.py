"""From a scene and a seed to a picture, stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter import landscape, town, weather
from painter.grade import develop
from painter.noise import rng
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
    if scene.skies & {"storm", "rain", "fog", "cloudy"}:
        light = light.overcast(
            {"storm": 0.85, "rain": 0.6, "fog": 0.4, "cloudy": 0.3}[
                min(scene.skies & {"storm", "rain", "fog", "cloudy"}, key="storm rain fog cloudy".find)
            ]
        )
    if scene.tint:
        light = light.tinted(linear(scene.tint), 0.34)
    return light


def paint(scene: Scene, width: int, height: int, seed: int, detail: float = 1.0) -> Iterator[Image.Image | None]:
    """Yield ``None`` as each stage ends, ``STAGES`` times, then the picture.

    ``detail``, 0 to 1, is how finely the shapes are worked out. The same arguments give the same pixels.
    """
    light = palette(scene)
    mix = seed ^ (scene.key << 20)
    parts = (town if scene.ground in {"street", "city"} else landscape).paint(scene, light, width, height, mix, detail)
    for part in parts:
        if part is None:
            yield None
        else:
            canvas, horizon = part
    if "fog" in scene.skies:
        weather.fog(canvas, light.haze * 0.9 + 0.03, horizon, mix, 0.75)
    if scene.skies & {"rain"} and "snow" not in scene.skies:
        weather.rain(canvas, mix, 0.9)
    if "snow" in scene.skies and rng(mix, "flakes").random() < 0.85 and scene.hour != "sunset":  # noqa: PLR2004 - some snow has fallen already
        weather.snow(canvas, mix, float(np.clip(light.haze.mean() * 2.4, 0.3, 1.1)))
    yield None
    colour = 0.0 if "grey" in scene.moods else 1.18 if "vivid" in scene.moods else 1.0
    neon = "neon" in scene.sights
    exposure = light.exposure * (0.82 if "dark" in scene.moods and scene.hour != "night" else 1.0)
    yield develop(
        canvas, mix, exposure=exposure, glow=1.5 if neon else 0.75 if scene.hour == "night" else 0.55, colour=colour
    )
