"""How much of a JSON body is read, and what its values may take in memory: a small one can describe a large one."""

from __future__ import annotations

import re

LARGEST = 64 * 1024**2
"""Bytes of a body, decompressed."""
HEAVIEST = 128 * 1024**2
"""Bytes that a body's values may take in memory, by ``WEIGHTS``."""
ROW = 16 * 1024**2
"""Bytes of a row of a file: a line, a cell. Python takes four times that where one of its characters is an emoji."""
ROW_HEAVIEST = HEAVIEST // 4
"""As ``HEAVIEST``, of a row: its values are copied as they are fitted to the model."""
LIGHT = 1024**2
"""Bytes of a body that is not weighed: whatever is in it, it stays below ``HEAVIEST``. Of a row, a quarter."""
WEIGHTS = {ord("{"): 200, ord("["): 64, ord('"'): 56, ord(","): 40}
"""Bytes that Python takes for an object, a list, a text besides its characters, and one more value."""

_WIDE = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")  # what begins a character beyond the first 65,536
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{,]', re.DOTALL)


def is_heavy(body: bytes, most: int = HEAVIEST) -> bool:
    """Whether decoding this JSON takes more than ``most``, as ``[{},{},…`` does: eighty times its own size."""
    if len(body) <= LIGHT * most // HEAVIEST:
        return False
    if _width(body) * len(body) + sum(weight * body.count(token) for token, weight in WEIGHTS.items()) <= most:
        return False
    weight = 0  # what is inside of a text is no value: only here is it looked at
    for token in _TOKEN.finditer(body):
        start, end = token.span()
        weight += WEIGHTS[body[start]] + (end - start > 1 and (end - start) * _width(body[start:end]))
        if weight > most:
            return True
    return False


def _width(body: bytes) -> int:
    """Bytes that Python takes for each character of a text, where one of them needs so many."""
    if body.isascii() and b"\\u" not in body:
        return 1
    return 4 if _WIDE.search(body) else 2
