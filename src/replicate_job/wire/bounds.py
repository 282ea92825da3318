"""Limits for JSON bodies: the bytes of a body, and the memory of its decoded values, which can be 80 times as large."""

from __future__ import annotations

import re

LARGEST = 64 * 1024**2
"""The most bytes of a body, after decompression."""
HEAVIEST = 128 * 1024**2
"""The most bytes of memory that the values of a body may take, as estimated by ``WEIGHTS``."""
ROW = 16 * 1024**2
"""The most bytes of one row (a line or a cell) of a file. A text with an emoji takes four times as many in memory."""
ROW_HEAVIEST = HEAVIEST // 4
"""The limit of memory for a row. It is below ``HEAVIEST``, because values of a row are copied to fit the model."""
LIGHT = 1024**2
"""A body of up to this many bytes cannot reach ``HEAVIEST``, so its memory is not estimated. For a row, this limit is a
quarter."""
WEIGHTS = {ord("{"): 200, ord("["): 64, ord('"'): 56, ord(","): 40}
"""Maps the first byte of a JSON token to the bytes of memory that Python needs: for an object, a list, an empty text,
and each further value in an object or list."""

_WIDE = rb"[\xf0-\xf4]|\\u[dD][89abAB]"  # the beginning of a character beyond U+FFFF
_TOKEN = rb'(?s)"(?:[^"\\]|\\.)*+"|[\[{,]'


def is_heavy(body: bytes, most: int = HEAVIEST) -> bool:
    """Whether decoding this JSON takes more than ``most`` bytes of memory. ``[{},{},…`` takes 80 times its own size."""
    if len(body) <= LIGHT * most // HEAVIEST:
        return False
    if _width(body) * len(body) + sum(weight * body.count(token) for token, weight in WEIGHTS.items()) <= most:
        return False
    weight = 0  # unlike the estimate above, this exact count leaves out brackets and commas inside texts
    for token in re.finditer(_TOKEN, body):
        start, end = token.span()
        weight += WEIGHTS[body[start]] + (end - start > 1 and (end - start) * _width(body[start:end]))
        if weight > most:
            return True
    return False


def _width(body: bytes) -> int:
    """The bytes that Python needs for each character of this text. The widest character determines this number."""
    if body.isascii() and b"\\u" not in body:
        return 1
    return 4 if re.search(_WIDE, body) else 2
