"""Draws a card, for a prompt that cannot be painted: the prompt's text over shapes, in colours chosen by the seed."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from painter.noise import rng
from painter.typeset import fit, font, settable

if TYPE_CHECKING:
    import numpy as np

Colour = tuple[int, int, int]

_SIGN = "stand-in"
_MOST = 4000  # characters of a prompt that are used: no card has room for more
_FINE = 2  # shapes are drawn this many times larger and averaged down


@dataclass(frozen=True)
class Scheme:
    """The colours of the paper, of two shapes on the paper, of the text (``ink``), and of a mark in another hue."""

    paper: Colour
    shapes: tuple[Colour, Colour]
    ink: Colour
    mark: Colour


def scheme(seed: int) -> Scheme:
    """Choose colours, light on dark or dark on light; consecutive seeds have hues that are far apart."""
    hue = seed * 0.381966 % 1  # the golden angle
    dice = rng(seed, "scheme")
    turn = hue + dice.choice([-1, 1]) * dice.uniform(0.07, 0.17)
    paper, first, second, ink, mark = ((0.13, 0.16, 0.19, 0.95, 0.7), (0.95, 0.9, 0.87, 0.09, 0.45))[dice.integers(2)]
    return Scheme(
        _colour(hue, paper, 0.6),
        (_colour(turn, first, 0.6), _colour(hue, second, 0.6)),
        _colour(hue, ink, 0.5),
        _colour(hue + 0.5 + dice.uniform(-0.14, 0.14), mark, 0.8),
    )


def _colour(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue % 1, lightness, saturation))
    return red, green, blue


def draw(prompt: str, seed: int, key: int, width: int, height: int) -> tuple[Image.Image, str, int]:
    """Return a card, the letters that its font lacks, and how many characters had no room."""
    text, missing = settable(prompt[:_MOST])
    colours = scheme(seed)
    image = Image.new("RGB", (width * _FINE, height * _FINE), colours.paper)
    _shapes(ImageDraw.Draw(image), colours, rng(seed ^ key << 20, "shapes"), image.width, image.height)
    image = image.reduce(_FINE)
    pen = ImageDraw.Draw(image)
    side = min(width, height)
    margin, small = _measures(image)
    rule = max(1, round(0.009 * side))
    pen.rectangle([margin, margin, margin + round(0.1 * side), margin + rule], fill=colours.mark)
    top = margin + rule + round(0.05 * side)
    box = width - 2 * margin, height - margin - round(2.7 * small) - top
    setting = fit(text or "(an empty prompt)", "Semibold", box, (small, max(small, round(0.2 * side))))
    for number, line in enumerate(setting.lines):
        place = margin, top + number * setting.leading
        pen.text(place, line, fill=colours.ink, font=font("Semibold", setting.size))
    foot = height - margin
    note = f"seed {seed}"
    if font("Regular", small).getlength(f"{_SIGN}   {note}") < box[0]:
        pen.text((width - margin, foot), note, fill=colours.ink, font=font("Regular", small), anchor="rs")
    return image, missing, max(0, len(prompt) - _MOST) + setting.left


def sign(image: Image.Image) -> Image.Image:
    """Return a copy with "stand-in" on a small dark tag in its lower left corner."""
    signed, (margin, small) = image.copy(), _measures(image)
    pen, place, kind = ImageDraw.Draw(signed), (margin, image.height - margin), font("Regular", small)
    left, top, right, foot = pen.textbbox(place, _SIGN, kind, "ls")
    pen.rectangle([left - small * 0.4, top - small * 0.25, right + small * 0.4, foot + small * 0.35], fill="#1a1a1a")
    pen.text(place, _SIGN, "white", kind, "ls")
    return signed


def _measures(image: Image.Image) -> tuple[int, int]:
    """The margin of a picture and the size of its small type, in pixels."""
    wide, high = image.size
    return max(4, round(0.08 * min(wide, high))), max(8, round(0.026 * math.sqrt(wide * high)))


def _shapes(pen: ImageDraw.ImageDraw, colours: Scheme, dice: np.random.Generator, width: int, height: int) -> None:
    """Lay two discs over the paper."""
    side = min(width, height)
    x, y = dice.uniform(0.45, 1.0) * width, dice.uniform(0.3, 1.0) * height
    for colour, size in zip(colours.shapes, (dice.uniform(0.5, 0.8), dice.uniform(0.2, 0.4)), strict=True):
        pen.circle((x, y), size * side, fill=colour)
        x, y = x - size * side * dice.uniform(0.7, 1.2), y - size * side * dice.uniform(-0.5, 0.8)
