"""Durations in the form of Replicate's API, for the header ``Cancel-After`` and for options of commands."""

from __future__ import annotations

import re

SHORTEST, LONGEST = 5, 24 * 3600
"""The shortest and the longest ``Cancel-After`` that the API accepts, in seconds."""

_PARTS = r"(?a)(?=\d)(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?"


def parse_seconds(text: str) -> int:
    """Read ``30``, ``90s``, ``5m``, ``1h30m45s`` as seconds. Raises ValueError."""
    found = re.fullmatch(_PARTS, text.strip())
    if not found:
        raise ValueError(f"{text!r} must be like 30s, 5m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_cancel_after(text: str) -> int:
    """Read the value of ``Cancel-After`` as seconds. Raises ValueError, also for less than 5 s or more than 24 h."""
    wrong = ValueError(f"{text!r} must be like 30s, 5m or 1h30m, from 5 seconds to 24 hours")
    try:
        total = parse_seconds(text)
    except ValueError:
        raise wrong from None
    if not SHORTEST <= total <= LONGEST:
        raise wrong
    return total
