"""Converts a RunJob to a Job: checks the names and values of a job file of any format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.decoding import convert
from replicate_job.errors import JobError
from replicate_job.job import EVENTS, FUNCTION, Fallback, Job
from replicate_job.jobfile.runjob import did_you_mean, shown
from replicate_job.quantity import is_count, is_seconds
from replicate_job.wire.duration import parse_cancel_after
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_job.errors import JobFileError
    from replicate_job.jobfile.runjob import RunJob
    from replicate_job.jobfile.source import Source


def _is_duration(value: Any) -> bool:
    try:
        return isinstance(value, str) and parse_cancel_after(value) > 0
    except ValueError:
        return False


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s/]+\S*", value) is not None


def _is_destination(value: Any) -> bool:
    try:
        return isinstance(value, str) and parse_target(value).kind == "model"
    except JobError:
        return False


def _is_fallback(value: Any) -> bool:
    try:
        return isinstance(value, list) and all(parse_target(each.model) for each in _fallback(value))
    except (JobError, msgspec.ValidationError):
        return False


def _fallback(value: Any) -> tuple[Fallback, ...]:
    return convert(value, tuple[Fallback, ...])


def _is_events(value: Any) -> bool:
    return isinstance(value, list) and all(event in EVENTS for event in value)


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (lambda value: isinstance(value, str) and value.strip() != "", "a non-empty string"),
    "input_data": (lambda value: isinstance(value, dict), "an object"),
    "wait_for_completion": (_is_bool, "true or false"),
    "poll_interval": (is_seconds, "a number of seconds above 0"),
    "max_poll_attempts": (is_count, "a whole number, at least 1"),
    "cancel_after": (_is_duration, 'a string such as "30", "5m" or "1h30m" (5 s to 24 h)'),
    "webhook": (_is_url, "an http or https URL"),
    "allow_unknown": (_is_bool, "true or false"),
    "destination": (_is_destination, "the name of a model, as owner/name"),
    "fallback": (_is_fallback, "an array of objects with a model and, if need be, inputs and input_data"),
    "webhook_events_filter": (_is_events, f"an array of {', '.join(EVENTS)}"),
}
"""Maps a name of a job file to the check of its value, and to the words for a valid value in messages."""
_NULLABLE = {"poll_interval", "max_poll_attempts", "cancel_after", "webhook", "destination"}


def to_job(run_job: RunJob, source: Source, defaults: Mapping[str, Any] = {}) -> Job:
    """Check every name and value, and make the Job. ``defaults`` are the values of names that the file leaves out.

    Raises JobFileError for another function, an unknown name, a wrong type or range, and a missing model.
    """
    if run_job.function != FUNCTION:
        raise source.error(
            f"this file runs the function {shown(run_job.function)}, and this tool runs {FUNCTION}",
            source.marks.get("function"),
        )
    for name, value in run_job.input.items():
        if name not in RULES:
            raise _unknown(name, source)
        if not (value is None and name in _NULLABLE):
            _check(name, value, source)
    if "model" not in run_job.input:
        raise source.error("model is missing", source.marks.get("input"), "model names what to run, as owner/name")
    values = {**defaults, **run_job.input}
    if "webhook_events_filter" in values:
        values["webhook_events_filter"] = tuple(values["webhook_events_filter"])
    if "fallback" in values:
        values["fallback"] = _fallback(values["fallback"])
    return Job(**values, title=run_job.title, env=run_job.env)


def _check(name: str, value: Any, source: Source) -> None:
    good, wanted = RULES[name]
    at = source.marks.get(f"input.{name}")
    if name == "webhook_events_filter" and isinstance(value, list) and not good(value):
        event = next(event for event in value if event not in EVENTS)
        hint = did_you_mean(event, EVENTS) if isinstance(event, str) else ""
        raise source.error(f"{name} must be {wanted}, found {shown(event)} in it", at, hint)
    if not good(value):
        raise source.error(f"{name} must be {wanted}, found {shown(value)}", at, _advice(name, value))
    if name == "model":
        try:
            parse_target(value)
        except JobError as error:
            raise source.error(f"model: {error}", at) from None


def _advice(name: str, value: Any) -> str:
    """A hint on the right spelling; empty if the value does not show the user's intention."""
    if isinstance(value, str):
        try:
            bare = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return ""
        return "write it without quotes" if RULES[name][0](bare) else ""
    if name == "cancel_after" and isinstance(value, int):
        return f'write "{value}"'
    return ""


def _unknown(name: str, source: Source) -> JobFileError:
    hint = did_you_mean(name, RULES) or "inputs of the model itself belong in input_data"
    return source.error(f"unknown name {shown(name)}", source.marks.get(f"input.{name}"), hint)
