"""Round ticks for the axes of a plot, and their labels."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec

from replicate_job.quantity import duration

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ROUND = (1, 2, 5)
_CLOCK = tuple(
    multiple * unit
    for unit, multiples in (
        (1, (1, 2, 5, 10, 15, 30)),
        (_MINUTE, (1, 2, 5, 10, 15, 30)),
        (_HOUR, (1, 2, 3, 6, 12)),
        (_DAY, (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    )
    for multiple in multiples
)
_TOP, _ACROSS = 4, 6  # the most steps of the vertical and of the horizontal axis


class Tick(msgspec.Struct, frozen=True):
    value: float
    label: str


def number_ticks(most: float) -> list[Tick]:
    """Ticks from 0 to the first round number that is not below ``most``."""
    step = _round(most / _TOP)
    return [Tick(value, f"{value:,.10g}") for value in _steps(step, most)]


def duration_ticks(most: float) -> list[Tick]:
    """Like ``number_ticks``, for seconds. A step above one second is one that clocks use: 5, 10, 15 s and so on."""
    clock = next((step for step in _CLOCK if step * _TOP >= most), _CLOCK[-1])
    step = clock if most > _TOP else _round(most / _TOP)
    return [Tick(value, duration(value) if value else "0") for value in _steps(step, most)]


def _steps(step: float, most: float) -> list[float]:
    return [number * step for number in range(max(1, math.ceil(most / step - 1e-9)) + 1)]


def _round(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 … and of 0.5, 0.2, 0.1 … that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return next((step * power for step in _ROUND if step * power >= least * (1 - 1e-9)), 10 * power)


def time_ticks(start: float, end: float) -> list[Tick]:
    """Ticks of Unix times, labelled in UTC: ``14:05:30``, ``14:05``, and midnight as the day (``4 Mar``)."""
    step = next((step for step in _CLOCK if step * _ACROSS >= end - start), _CLOCK[-1])
    first = math.ceil(start / step)
    return [Tick(number * step, _clock(number * step, step)) for number in range(first, math.floor(end / step) + 1)]


def _clock(time: int, step: int) -> str:
    moment = datetime.fromtimestamp(time, UTC)
    if time % _DAY == 0:
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}" if step % _MINUTE == 0 else f"{moment:%H:%M:%S}"
