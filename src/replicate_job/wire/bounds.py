"""How much of a JSON body is read, and what its values may take in memory: a small one can describe a large one."""

from __future__ import annotations

import re

LARGEST = 64 * 1024**2
"""Bytes of a body, decompressed."""
HEAVIEST = 128 * 1024**2
"""Bytes that a body's values may take in memory, by ``WEIGHTS``."""
LIGHT = 1024**2
"""Bytes of a body that is not weighed: whatever is in it, it stays below ``HEAVIEST``."""
WEIGHTS = {ord("{"): 200, ord("["): 64, ord('"'): 56, ord(","): 40}
"""Bytes that Python takes for an object, a list, a text besides its characters, and one more value."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{,]', re.DOTALL)


def is_heavy(body: bytes) -> bool:
    """Whether decoding this JSON takes more than ``HEAVIEST``, as ``[{},{},…`` does: thirty times its own size."""
    if len(body) <= LIGHT or sum(weight * body.count(token) for token, weight in WEIGHTS.items()) <= HEAVIEST:
        return False
    weight = 0  # what is inside of a text is no value: only here is it looked at
    for token in _TOKEN.finditer(body):
        weight += WEIGHTS[body[token.start()]]
        if weight > HEAVIEST:
            return True
    return False
