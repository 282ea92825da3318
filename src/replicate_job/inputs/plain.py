"""Converts values of Python, numpy, pandas and pyarrow to JSON's types. Single jobs and batches have the same rule."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isnan
from typing import TYPE_CHECKING, Any
from uuid import UUID

from replicate_job.inputs.flaws import fault
from replicate_job.scalars import OWN, own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EXACT = {str, int, bool, type(None)}  # a float may be NaN
_HOLDERS = (dict, list, tuple)
_MISSING = {"NAType", "NaTType"}  # names of pandas' classes: pandas is not imported for this


def plain_values(values: Mapping[Any, Any], *, of_table: bool = False) -> dict[str, Any]:
    """Convert the values to JSON's types, and leave out missing values (None, NaN, NaT and NA).

    Times become ISO 8601 text (to the microsecond), durations seconds, and decimals numbers. A ``pathlib.Path`` or
    ``Content`` is not changed. ``of_table``: the values are pyarrow's, see ``plain_value``. Raises one ValueError that
    names every problem.
    """
    plain: dict[str, Any] = {}
    problems: list[str] = []
    for name, original in values.items():
        if type(original) is str:  # the usual case
            plain[str(name)] = original
            continue
        try:
            value = _single(original)
            if value is not None and not (isinstance(value, float) and isnan(value)):
                plain[str(name)] = plain_value(value, of_table=of_table)
        except RecursionError:  # nested too deep: ``flaws`` reports it
            plain[str(name)] = original
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return plain


def native(value: Any) -> Any:
    """The value in JSON's types, at any depth. None stays, and so does what has no form in JSON, such as a file.

    A value that is nested too deeply, or contains itself, is not changed either: ``flaws`` reports it.
    """
    try:
        return _native(value)
    except RecursionError:
        return value


def _native(value: Any) -> Any:
    if type(value) in OWN:
        return value
    if isinstance(value, dict):
        return {name if type(name) is str else _name(name): _native(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_native(item) for item in value]
    value = _single(value)
    return _native(value) if isinstance(value, _HOLDERS) else value  # an array's values


def plain_value(value: Any, *, of_table: bool = False) -> Any:
    """The value in JSON's types, without the missing values of objects.

    ``of_table``: a list of pairs is pyarrow's form of a map, and bytes are text. Raises ValueError, with a reason that
    can be shown to the user.
    """
    if type(value) in _EXACT:
        return value
    match value := _single(value):
        case [(_, _), *_] if of_table and isinstance(value, list) and isinstance(value[0], tuple):
            return {str(key): plain_value(item, of_table=True) for key, item in value if item is not None}
        case list() | tuple():
            return [plain_value(item, of_table=of_table) for item in value]
        case dict():
            return {_name(key): plain_value(item, of_table=of_table) for key, item in value.items() if item is not None}
        case bytes() if of_table:
            return _text(value)
    if problem := fault(value):
        raise ValueError(problem)
    return value


def _single(value: Any) -> Any:
    """A single value in JSON's type. Other values are not changed, except that an array becomes a list."""
    if isinstance(value, _HOLDERS):
        return value
    if type(value).__name__ in _MISSING:
        return None
    value = own(value)
    if type(value) in OWN:
        return value
    return next((form(value) for kind, form in _FORMS.items() if isinstance(value, kind)), value)


def _name(name: Any) -> Any:
    """A name of an object. One that is not text is not changed: ``flaws`` reports it."""
    return own(name) if isinstance(name, str) else name


def _number(value: Decimal) -> int | float | Decimal:
    if not value.is_finite():  # ``flaws`` reports it
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError("bytes that are not UTF-8 text; give a path (@path) or a URL instead") from None


_FORMS: dict[type, Callable[[Any], Any]] = {
    Decimal: _number,
    datetime: datetime.isoformat,  # before ``date``, its base class
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    UUID: str,
}
