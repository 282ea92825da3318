"""Text as type: what the font can set, and lines that fit a box."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import font_source_sans_pro
from PIL import ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable

_UNIT = 100
"""The size at which text is measured: type is wider in proportion to its size."""
_WORD = 24
"""Characters of a word that is never broken where a smaller size would do."""


@cache
def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(font_source_sans_pro.font_directory) / f"SourceSansPro-{weight}.ttf", size)


@cache
def _has(letter: str) -> bool:
    """Whether the font has that letter: another picture than the one for a character that no font has."""
    measure = font("Regular", _UNIT)
    return bytes(measure.getmask(letter)) != bytes(measure.getmask("\uffff"))


def settable(text: str) -> tuple[str, str]:
    """Return the text with counts in brackets where the font has no letters, and those letters."""
    words = unicodedata.normalize("NFC", text).split()
    plain = "".join(letter for letter in " ".join(words) if unicodedata.category(letter) != "Cc")
    lacks: list[bool] = []
    for letter in plain:
        part = unicodedata.category(letter) in {"Mn", "Mc", "Me", "Cf"}  # belongs to the letter before it
        lacks.append(bool(lacks and lacks[-1]) if part else letter != " " and not _has(letter))
    pieces, missing = [], []
    for lacking, pairs in groupby(zip(lacks, plain, strict=True), key=lambda pair: pair[0]):
        run = "".join(letter for _, letter in pairs)
        if lacking:
            missing.append(run)
            run = f"[{len(run)}\u00a0character{'s' if len(run) > 1 else ''}]"
        pieces.append(run)
    return "".join(pieces), " ".join(missing)


@dataclass(frozen=True)
class Setting:
    """Lines in one size; ``left`` is how many characters had no room."""

    weight: str
    size: int
    leading: int
    lines: tuple[str, ...]
    left: int = 0

    @property
    def height(self) -> int:
        return self.leading * len(self.lines)


def fit(text: str, weight: str, box: tuple[float, float], sizes: tuple[int, int], spacing: float) -> Setting:
    """Set a text as large as a box (pixels) holds it, from the smaller to the larger of ``sizes``.

    Lines are about equally long. What has no room at the smallest size is cut, and an ellipsis says so.
    """
    wide, high = box

    def lay(size: int) -> Setting:
        lines = _balanced(text, _ruler(weight, size), wide)
        return Setting(weight, size, max(size, round(size * spacing)), lines)

    low, high_size = min(sizes), max(sizes)
    while low < high_size:
        size = (low + high_size + 1) // 2
        tried = lay(size)
        fits = tried.height <= high and not _breaks_a_word(text, tried)
        low, high_size = (size, high_size) if fits else (low, size - 1)
    best = lay(low)
    room = max(1, int(high / best.leading))
    if len(best.lines) <= room:
        return best
    kept = best.lines[:room]
    left = len(text) - len(" ".join(kept))
    return Setting(weight, best.size, best.leading, (*kept[:-1], kept[-1][:-1].rstrip() + "…"), left)


def _ruler(weight: str, size: int) -> Callable[[str], float]:
    measure = font(weight, _UNIT)
    return lambda text: float(measure.getlength(text)) * size / _UNIT


def _breaks_a_word(text: str, setting: Setting) -> bool:
    """Whether a word goes on in the next line, in a text whose words are short enough for one."""
    return len(" ".join(setting.lines)) > len(text) and max(map(len, text.split(" "))) <= _WORD


def _balanced(text: str, ruler: Callable[[str], float], wide: float) -> tuple[str, ...]:
    """Break a text into as few lines as ``wide`` allows, and these as narrow as that number allows."""
    widths = {word: ruler(word) for word in text.split(" ")}
    blank = ruler(" ")
    lines = _broken(text, widths, blank, ruler, wide)
    narrow = wide * 0.5
    best = lines
    for _ in range(6):
        middle = (narrow + wide) / 2
        tried = _broken(text, widths, blank, ruler, middle)
        if len(tried) == len(lines) and len(" ".join(tried)) == len(" ".join(lines)):
            wide, best = middle, tried
        else:
            narrow = middle
    return best


def _broken(
    text: str, widths: dict[str, float], blank: float, ruler: Callable[[str], float], wide: float
) -> tuple[str, ...]:
    """Fill lines with words from left to right; a word that is wider than a line goes on in the next."""
    lines: list[str] = []
    line, length = "", 0.0
    for word in text.split(" "):
        width = widths[word]
        if line and length + blank + width <= wide:
            line, length = f"{line} {word}", length + blank + width
            continue
        if line:
            lines.append(line)
        rest = word
        while width > wide and len(rest) > 1:
            part = next((end for end in range(len(rest) - 1, 1, -1) if ruler(rest[:end]) <= wide), 1)
            lines.append(rest[:part])
            rest = rest[part:]
            width = ruler(rest)
        line, length = rest, width
    return (*lines, line) if line else tuple(lines)
