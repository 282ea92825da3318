"""Values of Python's libraries (pyarrow, numpy, pandas) as JSON has them."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from replicate_job.inputs.content import Content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EXACT = {str, int, bool, type(None)}
_MISSING = {"NAType", "NaTType"}  # of pandas, which is not imported for this


def plain_values(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The values that exist: None, NaN, NaT and NA stand for missing values.

    Times are ISO 8601 text (to the microsecond), durations are seconds, decimals are numbers, bytes are text where they
    are UTF-8, and a ``pathlib.Path`` or ``Content`` is itself. Raises ValueError, with every reason in one line.
    """
    plain: dict[str, Any] = {}
    problems: list[str] = []
    for name, original in values.items():
        if type(original) is str:  # as most are
            plain[str(name)] = original
            continue
        try:
            value = _native(original)
            if value is not None and not (isinstance(value, float) and isnan(value)):
                plain[str(name)] = plain_value(value)
        except RecursionError:  # it is nested too deep, which ``flaws`` tells
            plain[str(name)] = original
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return plain


def native(value: Any) -> Any:
    """The value with Python's own in place of those of numpy and pandas, however deep; all others as they are.

    So is a value that is nested too deep, or holds itself: ``flaws`` tells it.
    """
    try:
        return _own(value)
    except RecursionError:
        return value


def _own(value: Any) -> Any:
    if type(value) in _EXACT:
        return value
    if isinstance(value, dict):
        return {name: _own(item) for name, item in value.items()}
    if type(value) in {list, tuple}:
        return [_own(item) for item in value]
    return _native(value)


def plain_value(value: Any) -> Any:
    """The value as JSON has it. Raises ValueError, with a reason that can be shown."""
    if type(value) in _EXACT:
        return value
    match value := _native(value):
        case [(_, _), *_] if isinstance(value, list) and isinstance(value[0], tuple):  # a map, as pyarrow gives it
            return {str(key): plain_value(item) for key, item in value if item is not None}
        case list() | tuple():
            return [plain_value(item) for item in value]
        case dict():
            # A name that is no text stays, for ``flaws`` to tell.
            return {
                str(key) if isinstance(key, str) else key: plain_value(item)
                for key, item in value.items()
                if item is not None
            }
    for kind, form in _FORMS.items():
        if isinstance(value, kind):
            return form(value)
    raise ValueError(f"a {type(value).__name__} is not a JSON value; a file is a pathlib.Path, an open file or bytes")


def _native(value: Any) -> Any:
    """Python's own value for one of numpy, and None for what pandas has where nothing is."""
    kind = type(value)
    if kind.__module__ == "numpy":
        return value.tolist()  # of a scalar its value, of an array a list
    return None if kind.__name__ in _MISSING else value


def _itself(value: Any) -> Any:
    return value


def _finite(value: float) -> float:
    if isfinite(value):
        return float(value)
    raise ValueError(f"{value} is not a number that JSON can carry")


def _number(value: Decimal) -> int | float:
    if not value.is_finite():
        raise ValueError(f"{value} is not a number that JSON can carry")
    return int(value) if value == value.to_integral_value() else float(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError("bytes that are not UTF-8 text; give a path (@path) or a URL instead") from None


_FORMS: dict[type, Callable[[Any], Any]] = {
    type(None): _itself,
    Path: _itself,
    Content: _itself,
    str: str,
    int: _itself,
    float: _finite,
    Decimal: _number,
    datetime: datetime.isoformat,  # before date, which it is too
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    UUID: str,
    bytes: _text,
}
