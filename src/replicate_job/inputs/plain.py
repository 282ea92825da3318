"""Converts values of pyarrow, numpy and pandas to JSON's types."""

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
_MISSING = {"NAType", "NaTType"}  # names of pandas' classes: pandas is not imported for this


def plain_values(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert the values to JSON's types, and leave out missing values (None, NaN, NaT and NA).

    Times become ISO 8601 text (to the microsecond), durations seconds, decimals numbers, and bytes text if they are
    UTF-8. A ``pathlib.Path`` or ``Content`` is not changed. Raises one ValueError that names every problem.
    """
    plain: dict[str, Any] = {}
    problems: list[str] = []
    for name, original in values.items():
        if type(original) is str:  # the usual case
            plain[str(name)] = original
            continue
        try:
            value = _native(original)
            if value is not None and not (isinstance(value, float) and isnan(value)):
                plain[str(name)] = plain_value(value)
        except RecursionError:  # nested too deep: ``flaws`` reports it
            plain[str(name)] = original
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return plain


def native(value: Any) -> Any:
    """The value, with values of numpy and pandas converted to Python's own at any depth. Other values are not changed.

    A value that is nested too deeply, or contains itself, is not changed either: ``flaws`` reports it.
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
    """The value in JSON's types. Raises ValueError, with a reason that can be shown to the user."""
    if type(value) in _EXACT:
        return value
    match value := _native(value):
        case [(_, _), *_] if isinstance(value, list) and isinstance(value[0], tuple):  # pyarrow's form of a map
            return {str(key): plain_value(item) for key, item in value if item is not None}
        case list() | tuple():
            return [plain_value(item) for item in value]
        case dict():
            # A name that is not text is not changed: ``flaws`` reports it.
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
    """Python's own value for a value of numpy, and None for pandas' missing values."""
    kind = type(value)
    if kind.__module__ == "numpy":
        return value.tolist()  # a scalar's value, or an array's list
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
    datetime: datetime.isoformat,  # before ``date``, its base class
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    UUID: str,
    bytes: _text,
}
