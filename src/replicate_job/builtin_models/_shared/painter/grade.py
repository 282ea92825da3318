"""From light to a picture: bloom, film curve, vignette, grain."""

# ruff: noqa: PLR0913 - what stands where, in which light, from where

from __future__ import annotations

import numpy as np
from PIL import Image

from painter.noise import Array, ramp, rng, soften


def bloom(light: Array, strength: float) -> Array:
    """Let bright light spill over its surroundings, near and far."""
    scale = light.shape[1] / 1344
    bright = np.clip(light - 0.75, 0, 6)
    near = soften(bright, 9 * scale)
    return light + strength * (0.3 * near + 0.28 * soften(near, 30 * scale) + 0.22 * soften(near, 90 * scale))


def film(light: Array) -> Array:
    """Compress linear light into 0..1 with a soft shoulder (the ACES fit by Narkowicz), then encode as sRGB."""
    x = np.maximum(light, 0) * np.float32(0.72)
    y = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    return np.where(y <= 0.0031308, y * 12.92, 1.055 * np.power(np.maximum(y, 1e-8), 1 / 2.4) - 0.055)  # noqa: PLR2004 - the sRGB curve


def vignette(shape: tuple[int, ...], amount: float) -> Array:
    """Darken towards the corners: one factor a pixel."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    return (1 - amount * ramp(0.45, 1.5, np.sqrt(x * x + y * y)))[..., None]


def develop(
    light: Array, seed: int, *, exposure: float, glow: float, colour: float = 1.0, dark: float = 0.28
) -> Image.Image:
    """Finish a picture: linear light (rows, cols, 3) to an RGB image. ``colour`` 0 is black and white."""
    picture = film(bloom(light * np.float32(exposure), glow) * vignette(light.shape, dark))
    picture += 0.06 * np.sin(2 * np.pi * (picture - 0.5)) / 2  # a little more contrast in the middle
    grey = (picture @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32))[..., None]
    picture = grey + (picture - grey) * np.float32(1.06 * colour)
    grain = rng(seed, "grain").standard_normal(picture.shape[:2], dtype=np.float32)[..., None]
    picture += grain * (0.0055 * (1.15 - np.abs(2 * grey - 0.9)))
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
