"""Counts, durations and rates, as people read them."""

from __future__ import annotations

import math

_MINUTE = 60
_FEW = 10


def count(number: int) -> str:
    return f"{number:,}"


def duration(seconds: float) -> str:
    """``12 s``, ``1m 30s``, ``1h 02m``."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{count(hours)}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def roughly(seconds: float) -> str:
    """A duration that is a guess, rounded up: ``40 s``, ``15 min``, ``1h 02m``."""
    fives = max(1, math.ceil(seconds / 5)) * 5
    if fives < _MINUTE:
        return f"{fives} s"
    minutes = math.ceil(seconds / _MINUTE)
    return f"{minutes} min" if minutes < _MINUTE else duration(minutes * _MINUTE)


def rate(per_second: float) -> str:
    """``598/min``, ``4.2/min``, ``24/h``."""
    per_minute = per_second * _MINUTE
    if per_minute >= _FEW:
        return f"{count(round(per_minute))}/min"
    return f"{per_minute:.1f}/min" if per_minute >= 1 else f"{per_minute * 60:.0f}/h"
