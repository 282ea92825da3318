"""Reads the named arguments of Python callers: an error names the first argument with a wrong value."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from replicate_job.errors import JobError
from replicate_job.inputs.flaws import is_unicode
from replicate_job.job import EVENTS, Fallback
from replicate_job.quantity import is_count, is_seconds, shown
from replicate_job.scalars import own_items

_T = TypeVar("_T")

DEFAULTS: dict[str, Any] = {
    "rate": "600/min",
    "local": False,
    "allow_private_outputs": False,
    "quotes": True,
    "header": True,
    "rename": {},
    "ignore_columns": (),
    "set": {},
    "grid": {},
    "models": (),
    "retry_failed": False,
    "retry_uncertain": False,
    "fail_fast": False,
    "dedupe": False,
    "retries": 0,
}
"""The defaults of options whose default is not None."""
_NEEDED = frozenset(
    {
        "name",
        "model",
        "older_than",
        "forget",
        "dry_run",
        "query",
        "owner",
        "destination",
        "training_id",
        "follow",
        "running",
    }
)
_SECRET = frozenset({"token", "headers"})


class _Kind(NamedTuple):
    """A check for a value. ``words`` describe a valid value, for the error."""

    has: Callable[[Any], bool]
    words: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and is_unicode(value)  # neither the API nor the journal accepts other text


def _is_name(value: Any) -> bool:
    return _is_text(value) and value.strip() != ""


def _is_amount(value: Any) -> bool:
    is_decimal = type(value).__name__ == "Decimal" and value.is_finite() and value > 0
    return is_decimal or is_seconds(value)


def _is_retries(value: Any) -> bool:
    return is_count(value) or (type(value) is int and value == 0)


def _is_timeout(value: Any) -> bool:
    return is_seconds(value) or (isinstance(value, float) and value == math.inf)


def _is_age(value: Any) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)


def _is_fallback(value: Any) -> bool:
    several = value if _is_names(value) else [value]
    return not isinstance(value, Mapping) and all(isinstance(each, Fallback) or _is_text(each) for each in several)


def _is_names(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _is_function(value: Any) -> bool:
    makers = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return callable(value) and not any(
        is_async(each)
        for is_async in makers
        for each in (value, getattr(value, "__call__", None))  # noqa: B004
    )


def _is_renaming(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for pair in value.items() for name in pair)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_grid(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_text(name) and _is_names(each) for name, each in value.items())


def _is_events(value: Any) -> bool:
    return _is_names(value) and not isinstance(value, Mapping) and all(each in EVENTS for each in value)


_TEXT = _Kind(_is_text, "a string")
_NAME = _Kind(_is_name, "a string that is not blank")
_BOOL = _Kind(lambda value: isinstance(value, bool), "True or False")
_PATH = _Kind(lambda value: _is_name(value) or isinstance(value, PathLike), "a path")
_SECONDS = _Kind(is_seconds, "a number of seconds above 0")
_COUNT = _Kind(is_count, "a whole number from 1")
_AGE = _Kind(_is_age, "an age, as a timedelta like timedelta(days=30)")
_KINDS = {
    "token": _NAME,
    "base_url": _NAME,
    "headers": _Kind(lambda value: isinstance(value, Mapping), "a dict of names and values"),
    "journal": _PATH,
    "rate": _Kind(_is_text, 'a string like "600/min", "10/s" or "none"'),
    "local": _BOOL,
    "allow_private_outputs": _BOOL,
    "key": _NAME,
    "save_to": _Kind(lambda value: _is_name(value) or isinstance(value, Path), "a path, or the URL of a store"),
    "on_progress": _Kind(_is_function, "a function that is not async"),
    "cancel_after": _Kind(_is_text, 'a string like "30s", "5m" or "1h30m"'),
    "webhook": _TEXT,
    "webhook_events_filter": _Kind(_is_events, f"a list of some of {', '.join(EVENTS)}"),
    "allow_unknown": _BOOL,
    "wait_for_completion": _BOOL,
    "poll_interval": _SECONDS,
    "max_poll_attempts": _COUNT,
    "timeout": _Kind(_is_timeout, "a number of seconds above 0, or None for no limit"),
    "id": _NAME,
    "rename": _Kind(_is_renaming, "a dict of columns and their inputs"),
    "ignore_columns": _Kind(lambda value: isinstance(value, str) or _is_names(value), "a list of columns"),
    "set": _Kind(_is_renaming, "a dict of inputs and their templates"),
    "grid": _Kind(_is_grid, "a dict of names and lists of their values"),
    "models": _Kind(lambda value: isinstance(value, str) or _is_texts(value), "a list of models' names"),
    "format": _NAME,
    "delimiter": _TEXT,
    "encoding": _TEXT,
    "header": _Kind(lambda value: isinstance(value, bool) or _is_names(value), "True, False or a list of columns"),
    "quotes": _BOOL,
    "concurrency": _COUNT,
    "limit": _COUNT,
    "retry_failed": _BOOL,
    "retry_uncertain": _BOOL,
    "fail_fast": _BOOL,
    "max_predict_time": _SECONDS,
    "max_cost": _Kind(_is_amount, "an amount of USD above 0"),
    "price": _Kind(
        lambda value: _is_text(value) or _is_renaming(value),
        'a string like "0.003/image" or "gpu-l40s", or a dict of models and such strings',
    ),
    "dedupe": _BOOL,
    "retries": _Kind(_is_retries, "a whole number from 0"),
    "retry_on": _Kind(lambda value: isinstance(value, str) or _is_names(value), "a list of failures"),
    "fallback": _Kind(_is_fallback, "the name of a model, a Fallback, or a list of those"),
    "reuse": _Kind(lambda value: isinstance(value, timedelta) and value > timedelta(0), "an age, as a timedelta"),
    "forget": _BOOL,
    "dry_run": _BOOL,
    "follow": _BOOL,
    "running": _BOOL,
    "name": _Kind(_is_name, "a job's key or a prediction's id, as a string"),
    "query": _TEXT,
    "owner": _TEXT,
    "destination": _TEXT,
    "training_id": _Kind(_is_text, "a training's id, as a string"),
    "since": _AGE,
    "older_than": _AGE,
    "model": _Kind(_is_text, 'a model\'s name like "owner/name"'),
}


def _has_surrogates(value: Any) -> bool:
    """Whether a string, or a string in a list, is not valid Unicode."""
    texts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(text, str) and not is_unicode(text) for text in texts)


def read_argument(name: str, value: _T) -> _T:
    """The value of the argument, with Python's own values in place of numpy's and of subclasses.

    Raises JobError for a wrong value.
    """
    plain = own_items(value)
    kind = _KINDS[name]
    may_be_none = name not in DEFAULTS and name not in _NEEDED
    if not (kind.has(plain) or (plain is None and may_be_none)):
        what = f"a {type(value).__name__}" if name in _SECRET else shown(value)
        words = "text that is valid Unicode" if _has_surrogates(plain) else kind.words
        raise JobError(f"{name} is {what}: give {words}")
    return cast("_T", plain)


def read_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read each of the arguments. Raises JobError for the first that has a wrong value."""
    return {name: read_argument(name, value) for name, value in arguments.items()}


def check_input(input: Any, name: str = "input") -> None:
    """Raise JobError if the input is not a mapping."""
    if not isinstance(input, Mapping):
        raise JobError(f"{name} is a {type(input).__name__}: give a dict of the model's inputs")
