"""Checks numbers, and formats numbers and texts for people."""

from __future__ import annotations

import math
import reprlib
import sys
from typing import TYPE_CHECKING, Any

from replicate_job.terminal import plain

if TYPE_CHECKING:
    from decimal import Decimal

MOST = 2**63 - 1
"""The largest count: SQLite and PostgreSQL store no larger integer."""
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_PACES = ((1, "a second"), (_MINUTE, "a minute"), (_HOUR, "an hour"), (_DAY, "a day"))
_LEGIBLE = 2  # A pace below this number is shown for the next longer unit of time.
_LONGEST = 1e9  # Seconds: 31 years.
_NUMBERS = frozenset({int, float})  # a bool is neither
_SMALL = 10  # A smaller number is shown with one decimal.


def duration(seconds: float) -> str:
    """``450 ms``, ``3.2 s``, ``12m 5s``, ``1h 23m``, ``2d 3h``."""
    if seconds <= 0:
        return "0 s"
    if round(seconds * 1000) < 1000:  # noqa: PLR2004 - a second
        return f"{seconds * 1000:.3g} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    whole = round(seconds)
    for unit, name, below, its_name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "m"), (_MINUTE, "m", 1, "s")):
        if whole >= unit:
            many, rest = divmod(whole, unit)
            return f"{many}{name} {rest // below}{its_name}" if rest // below else f"{many}{name}"
    return f"{whole} s"


def roughly(seconds: float) -> str:
    """A rough duration, rounded up: ``40 s``, ``15 min``, ``1h 02m``."""
    fives = max(1, math.ceil(seconds / 5)) * 5
    if fives < _MINUTE:
        return f"{fives} s"
    hours, minutes = divmod(math.ceil(seconds / _MINUTE), 60)
    return f"{hours:,}h {minutes:02}m" if hours else f"{minutes} min"


def rate(pace: float) -> str:
    """A short text for a pace in events a second: ``598/min``, ``4.2/min``, ``24/h``."""
    per_minute = pace * _MINUTE
    if per_minute >= _SMALL:
        return f"{per_minute:,.0f}/min"
    return f"{per_minute:.1f}/min" if per_minute >= 1 else f"{per_minute * 60:.0f}/h"


def size(number: int) -> str:
    """``512 B``, ``1.2 GB``."""
    power, value = 0, float(number)
    while round(value, 1) >= _STEP and power < len(_UNITS) - 1:
        power, value = power + 1, value / _STEP
    return f"{value:.1f} {_UNITS[power]}" if power and value < _SMALL else f"{value:.0f} {_UNITS[power]}"


def money(amount: Decimal | float) -> str:
    """An amount of USD: ``$12.50``. Below a dollar it has three significant digits: ``$0.0031``."""
    whole, _, behind = f"{amount:,.{_digits(amount)}f}".partition(".")
    return f"${whole}.{behind[:2]}{behind[2:].rstrip('0')}"


def _digits(amount: Decimal | float) -> int:
    """The number of decimals that shows three significant digits, and at least cents."""
    return 2 if amount >= 1 or amount <= 0 else 2 - math.floor(math.log10(amount))


def count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def per(pace: float) -> tuple[int, str]:
    """The unit of time in which to give a pace (events a second), as seconds and as words: ``(60, "a minute")``."""
    return next(((span, words) for span, words in _PACES if pace * span >= _LEGIBLE), _PACES[-1])


def rounded(number: float) -> str:
    """The number with three significant digits. All digits before the decimal point are shown."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits


def is_seconds(value: Any) -> bool:
    """Whether the value is a finite number of seconds above 0. An int must fit into a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def is_count(value: Any) -> bool:
    """Whether the value is a whole number from 1 that a database can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def shown(value: Any) -> str:
    """A value for an error, cut if it is long. Python writes no number of more than 4,300 digits."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return f"a {type(value).__name__} with too many digits"


def seconds(value: Any) -> float | None:
    """The value if it is a number of seconds up to 31 years, else None. Such numbers can be added up."""
    return float(value) if type(value) in _NUMBERS and 0 <= value <= _LONGEST else None


def one_line(text: str, length: int) -> str:
    """The text on one line of at most ``length`` characters. Control characters are escaped."""
    line = plain(" ".join(text[: 4 * length].split()))
    return line if len(line) <= length else line[: length - 1] + "…"
