"""Limits for JSON bodies: their bytes, and the memory of their values, which can be eighty times as much."""

from __future__ import annotations

import re

LARGEST = 64 * 1024**2
"""Bytes of a body, decompressed."""
HEAVIEST = 128 * 1024**2
"""Bytes that a body's values may take in memory, by ``WEIGHTS``."""
ROW = 16 * 1024**2
"""Bytes of a row of a file: a line, a cell. Python needs four times that for a text with an emoji."""
ROW_HEAVIEST = HEAVIEST // 4
"""``HEAVIEST`` for a row, whose values are copied when they are fitted to the model."""
LIGHT = 1024**2
"""Bytes up to which a body is not weighed: it stays below ``HEAVIEST`` in any case. A quarter for a row."""
WEIGHTS = {ord("{"): 200, ord("["): 64, ord('"'): 56, ord(","): 40}
"""Bytes that Python needs for an object, a list, a text without its characters, and one more value."""

_WIDE = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")  # the beginning of a character beyond U+FFFF
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{,]', re.DOTALL)


def is_heavy(body: bytes, most: int = HEAVIEST) -> bool:
    """Whether decoding this JSON takes more than ``most``, as ``[{},{},…`` does: eighty times its own size."""
    if len(body) <= LIGHT * most // HEAVIEST:
        return False
    if _width(body) * len(body) + sum(weight * body.count(token) for token, weight in WEIGHTS.items()) <= most:
        return False
    weight = 0  # characters inside a text are not values, and count here only
    for token in _TOKEN.finditer(body):
        start, end = token.span()
        weight += WEIGHTS[body[start]] + (end - start > 1 and (end - start) * _width(body[start:end]))
        if weight > most:
            return True
    return False


def _width(body: bytes) -> int:
    """Bytes that Python needs for each character of the text: the widest one decides."""
    if body.isascii() and b"\\u" not in body:
        return 1
    return 4 if _WIDE.search(body) else 2
