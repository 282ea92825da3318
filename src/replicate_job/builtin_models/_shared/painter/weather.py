"""Rain, snow and fog between the viewer and the scene."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from painter.noise import Array, fbm, rng, soften


def fog(light: Array, colour: Array, horizon: int, seed: int, amount: float) -> None:
    """Let banks of fog lie along the ground, thickest at the horizon."""
    rows, cols = light.shape[:2]
    y = (np.arange(rows, dtype=np.float32) - horizon) / rows
    layer = np.exp(-((y / 0.13) ** 2))[:, None]
    drift = 0.62 + 0.5 * fbm(rng(seed, "fog"), (rows, cols), (9, 5), 5)
    veil = np.clip(layer * drift * amount + 0.12 * amount, 0, 0.94)[..., None]
    light *= 1 - veil
    light += colour * veil


def streaks(shape: tuple[int, int], seed: int, count: int, length: float, slant: float) -> Array:
    """Draw rain as fine slanted lines of different strength."""
    dice = rng(seed, "rain")
    image = Image.new("L", (shape[1], shape[0]))
    pen = ImageDraw.Draw(image)
    for x, y, size, power in zip(
        dice.uniform(-50, shape[1] + 50, count), dice.uniform(-50, shape[0], count),
        dice.uniform(0.3, 1, count) * length, dice.integers(25, 130, count), strict=True,
    ):  # fmt: skip
        pen.line([(x, y), (x + size * slant, y + size)], fill=int(power), width=1)
    return np.asarray(image, dtype=np.float32) / 255


def rain(light: Array, seed: int, amount: float) -> None:
    """Add rain, lit by what lies behind it."""
    rows, cols = light.shape[:2]
    drops = streaks((rows, cols), seed, int(1500 * amount * cols / 1344), rows * 0.07, -0.16)
    behind = soften(light, max(8, rows / 18)).mean(axis=-1, keepdims=True)
    light += drops[..., None] * (behind * 0.55 + 0.035) * np.array([0.92, 0.98, 1.08], dtype=np.float32)


def snow(light: Array, seed: int, brightness: float) -> None:
    """Let flakes fall, small in the distance and soft near by."""
    rows, cols = light.shape[:2]
    dice = rng(seed, "snow")
    image = Image.new("L", (cols, rows))
    pen = ImageDraw.Draw(image)
    for depth in (0.6, 0.9, 1.4, 2.4, 4.2):
        for x, y in zip(dice.uniform(0, cols, int(380 / depth)), dice.uniform(0, rows, int(380 / depth)), strict=True):
            size = depth * rows / 768 * dice.uniform(0.7, 1.3)
            pen.ellipse([x - size, y - size, x + size, y + size], fill=int(255 / (1 + depth * 0.5)))
    flakes = soften(np.asarray(image, dtype=np.float32) / 255, 1.6 * rows / 768)[..., None] * 0.85
    light *= 1 - flakes
    light += flakes * brightness * np.array([0.95, 0.98, 1.04], dtype=np.float32)
