"""Sets text as type: replaces letters that the font lacks, and finds lines that fit a box."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import font_source_sans_pro
from PIL import ImageFont

_UNIT = 100
"""The font size at which text is measured. Its width is proportional to the size."""
_WORD = 24
"""The most characters of a word for which the font size is reduced until the word fits. A longer one may be broken."""


@cache
def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(font_source_sans_pro.font_directory) / f"SourceSansPro-{weight}.ttf", size)


@cache
def _has(letter: str) -> bool:
    """Whether the font has that letter: its image differs from that of a character that no font has."""
    measure = font("Regular", _UNIT)
    return bytes(measure.getmask(letter)) != bytes(measure.getmask("\uffff"))


def settable(text: str) -> tuple[str, str]:
    """Return the text with letters that the font lacks replaced by their number in brackets, and those letters."""
    words = " ".join(unicodedata.normalize("NFC", text).split())
    plain = "".join(letter for letter in words if letter.isprintable())
    lacks: list[bool] = []
    for letter in plain:
        mark = unicodedata.category(letter).startswith("M")  # it belongs to the letter before it
        lacks.append(bool(lacks) and lacks[-1] if mark else letter != " " and not _has(letter))
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
    """Lines of text in one font size. ``left`` is how many characters had no room."""

    size: int
    leading: int
    lines: tuple[str, ...]
    left: int = 0


def fit(text: str, weight: str, box: tuple[float, float], sizes: tuple[int, int]) -> Setting:
    """Set a text as large as fits into a box (pixels). ``sizes`` are the smallest and the largest font size.

    Lines are about equally long. Text that has no room at the smallest size is replaced by an ellipsis.
    """
    wide, high = box
    smallest, largest = sizes
    longest = max((_width(word, weight) for word in text.split(" ") if len(word) <= _WORD), default=0.0)
    for size in range(largest, smallest - 1, -1):
        lines = _balanced(text, weight, wide / size)
        leading = max(size, round(size * 1.08))
        if longest <= wide / size and leading * len(lines) <= high:
            return Setting(size, leading, lines)
    room = max(1, int(high / leading))
    if len(lines) <= room:
        return Setting(size, leading, lines)
    kept = lines[:room]
    left = len(text) - len(" ".join(kept))
    return Setting(size, leading, (*kept[:-1], kept[-1][:-1].rstrip() + "…"), left)


@cache
def _width(text: str, weight: str) -> float:
    """The width of a text in type of size 1."""
    return float(font(weight, _UNIT).getlength(text)) / _UNIT


def _balanced(text: str, weight: str, wide: float) -> tuple[str, ...]:
    """Break a text into as few lines as ``wide`` allows, then make the lines as narrow as that number allows."""
    lines = _broken(text, weight, wide)
    for share in (0.6, 0.7, 0.8, 0.9):
        tried = _broken(text, weight, wide * share)
        if len(tried) == len(lines) and " ".join(tried) == text:
            return tried
    return lines


def _broken(text: str, weight: str, wide: float) -> tuple[str, ...]:
    """Fill lines with words from left to right. A word that is wider than a line continues in the next one."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if _width(longer, weight) <= wide:
            lines[-1] = longer
            continue
        rest = word
        while _width(rest, weight) > wide and len(rest) > 1:
            part = _fitting(rest, weight, wide)
            lines.append(rest[:part])
            rest = rest[part:]
        lines.append(rest)
    return tuple(line for line in lines if line)


def _fitting(word: str, weight: str, wide: float) -> int:
    """How many letters of a word that is too wide for a line go into it, at least one."""
    return 1 + bisect_right(range(2, len(word)), wide, key=lambda end: _width(word[:end], weight))
