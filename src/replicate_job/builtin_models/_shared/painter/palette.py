"""Light and colour of an hour of the day, in linear light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from painter.noise import Array

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


def linear(code: str) -> Array:
    """Read ``#rrggbb`` as linear light, three values from 0 to 1."""
    srgb = np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)], dtype=np.float32)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)  # noqa: PLR2004 - the sRGB curve


@dataclass(frozen=True)
class Palette:
    """``stops`` are sky colours from the horizon to the zenith.

    ``sun`` is the colour of sunlight, ``shade`` the colour of the light in shadows. ``elevation`` is the tangent of the
    sun's angle.
    """

    stops: tuple[Array, ...]
    sun: Array
    glow: Array
    shade: Array
    haze: Array
    lit_cloud: Array
    dark_cloud: Array
    elevation: float
    exposure: float

    def overcast(self, amount: float) -> Palette:
        """Return the palette under cloud: greyer, darker, the sun weaker."""

        def grey(colour: Array) -> Array:
            cool = np.array([0.92, 1.0, 1.1], dtype=np.float32) * float(colour @ LUMINANCE)
            return (colour + (cool - colour) * amount * 0.75) * (1 - 0.37 * amount)

        return replace(
            self,
            stops=tuple(grey(stop) for stop in self.stops),
            sun=self.sun * (1 - 0.8 * amount),
            glow=self.glow * (1 - 0.7 * amount),
            shade=grey(self.shade),
            haze=grey(self.haze),
            lit_cloud=grey(self.lit_cloud),
            dark_cloud=grey(self.dark_cloud),
        )


def _palette(codes: str, elevation: float, sun: float, exposure: float = 1.0) -> Palette:
    *stops, light, glow, shade, haze, lit, dark = [linear(code) for code in codes.split()]
    return Palette(tuple(stops), light * sun, glow, shade, haze, lit, dark, elevation, exposure)


# Five sky colours from the horizon up, then sun, glow, shade, haze, lit cloud, dark cloud.
HOURS: dict[str, Palette] = {
    "sunrise": _palette(
        "#ffd9a0 #ffc3a0 #e9b3bd #9fb0d8 #5d86c0 #ffd2a0 #ffb070 #7f8fb8 #f3c4b4 #ffd9c4 #a892b4", 0.035, 2.2, 1.05
    ),
    "day": _palette(
        "#d3e6f2 #b4d6f0 #86bcec #5096de #2b6fc0 #fff6e4 #fff4dc #7a9ccb #bcd6ea #ffffff #a9b8cc", 0.42, 2.9
    ),
    "sunset": _palette(
        "#ffb868 #f7a070 #c98590 #7c7ca8 #3a5590 #ffab60 #ff7c34 #6a76b0 #a8809c #ffa070 #77608a", 0.03, 2.5, 1.05
    ),
    "dusk": _palette(
        "#f09a78 #c87a92 #83689e #46508e #1f2f62 #f0a080 #e07868 #454f86 #98769a #e090a0 #43406c", 0.004, 0.9, 1.1
    ),
    "night": _palette(
        "#33507c #27426e #1a3058 #101f42 #081230 #c6d8ff #6c8cc8 #2c4470 #2b4670 #8fa6d0 #1b2a4a", 0.3, 0.42, 1.15
    ),
}
