"""Round ticks for the axes of a plot, with what is written at them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec

from replicate_job.quantity import duration

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ROUND = (1, 2, 5)
_CLOCK = tuple(
    many * unit
    for unit, all_of in (
        (1, (1, 2, 5, 10, 15, 30)),
        (_MINUTE, (1, 2, 5, 10, 15, 30)),
        (_HOUR, (1, 2, 3, 6, 12)),
        (_DAY, (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    )
    for many in all_of
)
_TOP, _ACROSS = 4, 6  # steps of an axis at most


class Tick(msgspec.Struct, frozen=True):
    value: float
    label: str


def number_ticks(most: float) -> list[Tick]:
    """From 0 to the first round number that is not below ``most``."""
    step = _round(most / _TOP)
    return [Tick(value, f"{value:,.10g}") for value in _steps(step, most)]


def duration_ticks(most: float) -> list[Tick]:
    """The same for seconds: steps of a clock, where they are longer than one."""
    longer = next((step for step in _CLOCK if step * _TOP >= most), _CLOCK[-1])
    step = longer if most > _TOP else _round(most / _TOP)
    return [Tick(value, duration(value) if value else "0") for value in _steps(step, most)]


def _steps(step: float, most: float) -> list[float]:
    return [number * step for number in range(max(1, math.ceil(most / step - 1e-9)) + 1)]


def _round(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... and of their tenths that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return next((step * power for step in _ROUND if step * power >= least * (1 - 1e-9)), 10 * power)


def time_ticks(start: float, end: float) -> list[Tick]:
    """For Unix times, in UTC: ``14:05:30``, ``14:05``, and a day (``4 Mar``) at its midnight."""
    step = next((step for step in _CLOCK if step * _ACROSS >= end - start), _CLOCK[-1])
    first = math.ceil(start / step)
    return [Tick(number * step, _clock(number * step, step)) for number in range(first, math.floor(end / step) + 1)]


def _clock(time: int, step: int) -> str:
    moment = datetime.fromtimestamp(time, UTC)
    if time % _DAY == 0:
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}" if step % _MINUTE == 0 else f"{moment:%H:%M:%S}"
