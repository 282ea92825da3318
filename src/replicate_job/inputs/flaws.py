"""Finds the parts of an input that JSON cannot represent, so that they can be neither sent nor stored."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replicate_job.inputs.content import Content

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

DEEPEST = 200
"""The most levels of nested objects and lists. Inputs have far fewer levels, and Python's recursion limit is higher."""
HUGE = 10**300
"""The smallest number that is too large to send, since JSON readers refuse it."""
MOST = 10
"""The most lines about one input, since every item of a list may be wrong."""

_Place = tuple["_Place", str | int] | None
"""The place of a part: its container's place, and its key or index there. None is the whole input."""


def are_plain(values: Mapping[str, Any]) -> bool:
    """A quick check for most rows of a batch. True: the input has no flaw. False: ``flaws`` has to check the input."""
    for name, value in values.items():
        if type(name) is not str or not (name.isascii() or is_unicode(name)):
            return False
        kind = type(value)
        if kind is str:
            if not (value.isascii() or is_unicode(value)):
                return False
        elif kind is int:
            if not -HUGE < value < HUGE:
                return False
        elif kind is float:
            if not isfinite(value):
                return False
        elif not (value is None or kind is bool or (kind is tuple and not value)):
            return False
    return True


def flaws(values: Mapping[str, Any], secrets: Collection[str] = ()) -> list[str]:
    """One line for each part that JSON cannot represent, with the name of its input. Files to send are not flaws.

    Stops at the first part that is nested too deeply, since a list that contains itself never ends. ``secrets`` are
    names of inputs whose values are not shown.
    """
    if are_plain(values):
        return []
    if not secrets:
        return list(islice(_flaws(values), MOST))
    shown = {name: value for name, value in values.items() if name not in secrets}
    hidden = [name for name in secrets if name in values and any(_flaws({name: values[name]}))]
    return [*islice(_flaws(shown), MOST), *(f"{name}: the secret holds what JSON cannot carry" for name in hidden)]


def _flaws(values: Mapping[str, Any]) -> Iterator[str]:
    left: list[tuple[Any, _Place, int]] = [(values, None, 0)]
    while left:
        holder, place, depth = left.pop()
        if depth > DEEPEST:
            yield f"{_first(place)}: it is nested more than {DEEPEST} deep"
            return
        for name, value in _items(holder):
            if isinstance(holder, dict) and (problem := _fault_of_name(name)):
                yield f"{_show((place, ascii(name)))}: {problem}"
            if isinstance(value, dict | list | tuple):
                left.append((value, (place, name), depth + 1))
            elif problem := fault(value):
                yield f"{_show((place, name))}: {problem}"


def _items(holder: Any) -> Iterable[tuple[Any, Any]]:
    return holder.items() if isinstance(holder, dict) else enumerate(holder)


def _fault_of_name(name: object) -> str:
    return fault(name) if isinstance(name, str) else f"a name is text, and this is of the type {type(name).__name__}"


def fault(value: Any) -> str:
    """The reason why JSON cannot represent a single value; empty if it can."""
    match value:
        case str() if not is_unicode(value):
            return f"{value!a} is not valid Unicode"
        case float() | Decimal() if not _is_finite(value):
            return f"{value} is not a number that JSON can carry"
        case int() if not -HUGE < value < HUGE:
            return "a number of more than 300 digits is not one that JSON can carry"
        case Path() | Content() | None | bool():
            return ""
        case str() | int() | float() if isinstance(value, Enum) or type(value) in {str, int, float}:
            return ""
    return f"a {type(value).__name__} is not a JSON value; a file is a pathlib.Path, an open file or bytes"


def _is_finite(value: float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else isfinite(value)


def is_unicode(text: str) -> bool:
    """False for a text with lone surrogates, which JSON cannot represent, such as a command word that is not UTF-8."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _show(place: _Place) -> str:
    steps: list[str] = []
    while place:
        place, step = place
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step}")
    return "".join(reversed(steps)).removeprefix(".")


def _first(place: _Place) -> str:
    while place and place[0]:
        place = place[0]
    return _show(place)
