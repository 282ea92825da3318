"""Adds fog and rain to linear light, and converts it to a picture with bloom, a film curve and grain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from painter.noise import Array, cover, fbm, rng, soften
from painter.palette import LUMINANCE

if TYPE_CHECKING:
    from painter.view import View


def fog(canvas: Array, view: View) -> None:
    """Let banks of fog lie along the ground, thickest at the horizon."""
    rows, cols = canvas.shape[:2]
    up = (np.arange(rows, dtype=np.float32) - view.horizon) / rows
    drift = 0.62 + 0.5 * fbm(rng(view.seed, "fog"), (rows, cols), (9, 5), 5)
    veil = np.exp(-((up / 0.16) ** 2))[:, None] * drift * 0.75 + 0.12
    lit = 0.1 if view.scene.hour == "night" else 0.03
    cover(canvas, np.clip(veil, 0, 0.94), view.light.haze * 0.9 + np.float32(lit))


def rain(canvas: Array, view: View) -> None:
    """Let rain fall in fine slanted lines, lit by what lies behind them."""
    dice = rng(view.seed, "rain")
    rows, cols = canvas.shape[:2]
    image = Image.new("L", (cols, rows))
    pen = ImageDraw.Draw(image)
    for _ in range(cols):
        x, y = dice.uniform(-0.05, 1.05) * cols, dice.uniform(-0.05, 1) * rows
        size = dice.uniform(0.02, 0.07) * rows
        pen.line([(x, y), (x - 0.16 * size, y + size)], fill=int(dice.integers(25, 130)), width=1)
    drops = np.asarray(image, dtype=np.float32)[..., None] / 255
    behind = soften(canvas, max(8, rows / 18)).mean(axis=-1, keepdims=True)
    canvas += drops * (behind * 0.55 + 0.035) * np.array([0.92, 0.98, 1.08], dtype=np.float32)


def develop(canvas: Array, view: View) -> Image.Image:
    """Finish a picture: linear light (rows, cols, 3) to an RGB image."""
    glow = 0.75 if view.scene.hour == "night" else 0.55
    picture = _filmed(_bloomed(canvas * np.float32(view.light.exposure), glow))
    grey = (picture @ LUMINANCE)[..., None]
    picture = grey + (picture - grey) * np.float32(0.0 if "grey" in view.scene.shows else 1.1)
    picture += rng(view.seed, "grain").standard_normal(grey.shape, dtype=np.float32) * 0.004
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def _bloomed(light: Array, strength: float) -> Array:
    """Let bright light spill over its surroundings, near and far."""
    scale = light.shape[1] / 1344
    near = soften(np.clip(light - 0.75, 0, 6), 9 * scale)
    spilt: Array = 0.3 * near + 0.28 * soften(near, 30 * scale) + 0.22 * soften(near, 90 * scale)
    return light + strength * spilt


def _filmed(light: Array) -> Array:
    """Compress linear light into 0..1 with a soft shoulder (the ACES fit by Narkowicz), then encode as sRGB."""
    x = np.maximum(light, 0) * np.float32(0.72)
    y = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    return np.where(y <= 0.0031308, y * 12.92, 1.055 * np.power(np.maximum(y, 1e-8), 1 / 2.4) - 0.055)  # noqa: PLR2004 - the sRGB curve
