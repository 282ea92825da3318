"""A card: the prompt set as type over colours and shapes from its seed, for what the painter cannot paint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from painter.noise import rng
from painter.typeset import fit, font, settable

Colour = tuple[int, int, int]

_MOST = 4000  # characters of a prompt that are looked at: no card has room for more
_FINE = 2  # shapes are drawn this many times larger and averaged down


@dataclass(frozen=True)
class Scheme:
    """Paper, two shapes on it, the type, and a mark in another hue."""

    paper: Colour
    shapes: tuple[Colour, Colour]
    ink: Colour
    mark: Colour


def scheme(seed: int) -> Scheme:
    """Choose colours; consecutive seeds have hues that are far apart."""
    hue = seed * 137.508 % 360  # the golden angle
    dice = rng(seed, "scheme")
    turn = hue + dice.choice([-1, 1]) * dice.uniform(25, 60)
    paper, first, second, ink, mark = (
        ((0.24, 0.055), (0.3, 0.075), (0.35, 0.085), (0.96, 0.025), (0.78, 0.14)),
        ((0.95, 0.028), (0.9, 0.055), (0.86, 0.07), (0.27, 0.065), (0.6, 0.19)),
        ((0.4, 0.115), (0.35, 0.11), (0.43, 0.12), (0.985, 0.02), (0.85, 0.15)),
        ((0.88, 0.1), (0.83, 0.11), (0.92, 0.075), (0.22, 0.05), (0.45, 0.16)),
    )[int(dice.integers(4))]
    return Scheme(
        _oklch(*paper, hue),
        (_oklch(*first, turn), _oklch(*second, hue)),
        _oklch(*ink, hue),
        _oklch(*mark, hue + 180 + dice.uniform(-50, 50)),
    )


def draw(prompt: str, seed: int, key: int, width: int, height: int) -> tuple[Image.Image, str, int]:
    """Make a card. Returned are it, the letters that its font lacks, and how many characters had no room."""
    text, missing = settable(prompt[:_MOST])
    colours = scheme(seed)
    image = Image.new("RGB", (width * _FINE, height * _FINE), colours.paper)
    _shapes(ImageDraw.Draw(image), colours, rng(seed ^ key << 20, "shapes"), image.width, image.height)
    image = image.reduce(_FINE)
    pen = ImageDraw.Draw(image)
    side = min(width, height)
    margin = max(4, round(0.08 * side))
    small = max(8, round(0.026 * (width * height) ** 0.5))
    rule = max(1, round(0.009 * side))
    pen.rectangle([margin, margin, margin + round(0.1 * side), margin + rule], fill=colours.mark)
    top = margin + rule + round(0.05 * side)
    box = width - 2 * margin, height - margin - round(2.7 * small) - top
    setting = fit(text or "(an empty prompt)", "Semibold", box, (small, max(small, round(0.2 * side))))
    for number, line in enumerate(setting.lines):
        place = margin, top + number * setting.leading
        pen.text(place, line, fill=colours.ink, font=font("Semibold", setting.size))
    foot = height - margin
    pen.text((margin, foot), "stand-in", fill=colours.ink, font=font("Regular", small), anchor="ls")
    note = f"seed {seed}"
    if font("Regular", small).getlength(f"stand-in   {note}") < box[0]:
        pen.text((width - margin, foot), note, fill=colours.ink, font=font("Regular", small), anchor="rs")
    return image, missing, max(0, len(prompt) - _MOST) + setting.left


def _shapes(pen: ImageDraw.ImageDraw, colours: Scheme, dice: np.random.Generator, width: int, height: int) -> None:
    """Lay discs or rings over the paper."""
    side = min(width, height)
    first, second = colours.shapes
    x, y = dice.uniform(0.45, 1.0) * width, dice.uniform(0.3, 1.0) * height
    if dice.random() < 0.5:  # noqa: PLR2004 - half of the cards
        for colour, size in ((first, dice.uniform(0.5, 0.8)), (second, dice.uniform(0.2, 0.4))):
            pen.circle((x, y), size * side, fill=colour)
            x, y = x - size * side * dice.uniform(0.7, 1.2), y - size * side * dice.uniform(-0.5, 0.8)
        return
    step = side * dice.uniform(0.07, 0.12)
    for number in range(9, 0, -1):
        pen.circle((x, y), step * number, fill=(first, second, colours.paper)[number % 3])


def _oklch(light: float, chroma: float, hue: float) -> Colour:
    """Convert OKLCH (Ottosson 2020; hue in degrees) to sRGB; what lies outside loses chroma, not lightness."""
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    roots = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
    )
    back = np.array([[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965],
                     [-0.0041960863, -0.7034186147, 1.707614701]])  # fmt: skip
    rgb = back @ (roots @ np.array([light, a, b])) ** 3
    if chroma > 0 and (rgb.min() < 0 or rgb.max() > 1):
        return _oklch(light, max(0.0, chroma - 0.005), hue)
    rgb = np.clip(rgb, 0, 1)
    coded = np.where(rgb <= 0.0031308, rgb * 12.92, 1.055 * rgb ** (1 / 2.4) - 0.055)  # noqa: PLR2004 - the sRGB curve
    red, green, blue = (int(value * 255 + 0.5) for value in coded)
    return red, green, blue
