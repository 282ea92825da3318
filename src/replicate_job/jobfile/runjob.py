"""The content of a job file: a function, and the values to call it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicate_job.jobfile.source import Source

MAX_DEPTH = 200
"""How deep objects and arrays may be nested in a job file; Python's own JSON stops near 1,000."""

_SHOWN = 40


class RunJob(msgspec.Struct, frozen=True):
    """A run job of any function. ``input`` maps names to JSON values; ``env`` names environment variables."""

    title: str
    function: str
    input: dict[str, Any] = {}
    env: tuple[str, ...] = ()
    description: str = ""


def shown(value: object) -> str:
    """A value for an error message, on one line and cut if it is long."""
    import json  # noqa: PLC0415 - only errors need it

    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return f"a number of more than {_SHOWN} digits"
    if isinstance(value, str) and len(value) > _SHOWN:
        value = value[:_SHOWN] + "…"
    return json.dumps(value, ensure_ascii=False)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A hint with the most similar name; empty if none is similar."""
    import difflib  # noqa: PLC0415 - only errors need it

    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]}?" if near else ""


def make_run_job(values: Mapping[str, Any], source: Source, called: Mapping[str, str]) -> RunJob:
    """Check the types of the values that a parser read, and make the RunJob.

    ``values`` maps the fields of RunJob that are in the file to their values. ``called`` maps a field to its name in
    the file's format, if this name differs from the field's. Raises JobFileError.
    """
    for field, value in values.items():
        match field:
            case "function":
                good, wanted = isinstance(value, str) and value != "", "a non-empty string"
            case "input":
                good, wanted = isinstance(value, dict), "an object"
            case "env":
                good, wanted = isinstance(value, list), "an array of names of environment variables"
            case _:
                good, wanted = isinstance(value, str), "a string"
        if not good:
            name = called.get(field, field)
            raise source.error(f"{name} must be {wanted}, found {shown(value)}", source.marks.get(field))
    env = tuple(values.get("env", ()))
    for name in env:
        if not isinstance(name, str) or not name:
            message = f"env lists names of environment variables, as non-empty strings, found {shown(name)}"
            raise source.error(message, source.marks.get("env"))
    return RunJob(**{**values, "env": env})
