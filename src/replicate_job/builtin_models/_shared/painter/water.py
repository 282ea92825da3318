"""Still and moving water: a reflection, distorted by ripples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, lookup, ramp, rng, tile

if TYPE_CHECKING:
    from painter.view import View


CHOPPY = 0.3
"""The roughness from which single waves can be seen: on the open sea, but not on a lake or in a harbour."""


def surface(view: View, scale: float) -> Array:
    """Return the slope of the ripples, about -1 to 1. The first row is at the horizon, the last at the lower edge."""
    rows = np.arange(view.below, dtype=np.float32) + 0.7
    far = np.minimum(view.eye * view.focal / rows, 60)[:, None]
    dice = rng(view.seed, "water")
    small, large = tile(dice, 256, 8, 5, 0.6), tile(dice, 256, 4, 4, 0.5)
    across = view.columns[None, :] * far
    deep = np.broadcast_to(far, across.shape)
    fine = lookup(small, deep * 150 * scale, across * 42 * scale) - 0.5
    broad = lookup(large, deep * 38 * scale + 31, across * 11 * scale + 7) - 0.5
    blur = np.clip(1 - far * scale * 0.022, 0.15, 1) * min(1.0, 0.4 + scale * 0.6)
    chop = (lookup(small, deep * 520 * scale + 63, across * 190 * scale + 19) - 0.5) * max(0.0, scale - 1)
    slope: Array = fine * (1.1 * blur) + broad * 0.9 + chop * 0.6 * np.clip(1.2 - far * 0.35, 0, 1)
    return slope


def mirror(view: View, reflected: Array, slope: Array, rough: float) -> Array:
    """Return the picture ``reflected`` (whose first row is at the horizon), distorted by the ripples."""
    rows = np.arange(view.below, dtype=np.float32)[:, None]
    spread = (0.006 + 0.055 * rough + 0.14 * ramp(CHOPPY, 0.65, rough)) * view.focal * (0.12 + 1.1 * rows / view.height)
    up = rows + slope * spread + rough * 0.035 * view.focal
    top = reflected.shape[0] - 1
    up = np.abs(up)
    low = np.clip(up.astype(np.int32), 0, top - 1)
    part = np.clip(up - low, 0, 1)[..., None]
    column = np.arange(view.width)[None, :] + np.round(slope * spread * 0.12).astype(np.int32)
    column = np.clip(column, 0, view.width - 1)
    return reflected[low, column] * (1 - part) + reflected[low + 1, column] * part


def water(view: View, reflected: Array, *, rough: float, body: Array) -> Array:
    """Paint the water: its own colour near the viewer, the reflection farther away. The first row is at the horizon."""
    palette = view.light
    slope = surface(view, 2.4 if rough > CHOPPY else 1.0)
    rows = np.arange(view.below, dtype=np.float32)[:, None]
    steep = rows / view.focal
    fresnel = 0.93 - 0.5 * ramp(0.02, 0.62, steep) - 0.22 * rough * np.clip(slope + 0.5, 0, 1.2) * ramp(0, 0.2, steep)
    fresnel *= 1 - 0.42 * ramp(CHOPPY, 0.65, rough) * ramp(0, 0.12, steep)  # the faces of waves reflect less
    colour = mirror(view, reflected, slope, rough) * fresnel[..., None]
    colour += body * (palette.shade * 0.6 + palette.haze * 0.25) * (1 - fresnel)[..., None]
    swell = rough * np.clip(1.5 - 6 * steep, 0.85 if rough > CHOPPY else 0.35, 1.2)
    colour *= (1 + 0.85 * swell * slope)[..., None]
    path = np.exp(-(((view.columns[None, :] - view.bearing) / (0.03 + 0.16 * rough + 0.05 * steep)) ** 2))
    sparkle = ramp(0.22, 0.62, slope) * path * (0.25 + rough)
    glittering: Array = colour + sparkle[..., None] * palette.sun * 0.4
    return glittering
