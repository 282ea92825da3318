"""Reads TOML and JSON job files, which have all names of a run.job on one level.

``title``, ``env``, ``description`` and ``function`` (by default the function that this tool runs) are on the same level
as ``model``, ``input_data`` and the other fields. A date or time of TOML becomes a string in ISO 8601, because a
model's input is JSON.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import tomllib
from typing import TYPE_CHECKING, Any

from replicate_job.job import FUNCTION, Job
from replicate_job.jobfile.runjob import MAX_DEPTH, RunJob, make_run_job, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_job.errors import JobFileError
    from replicate_job.jobfile.source import Source

_OUTSIDE = ("title", "function", "env", "description")
_SHOWN = 80
_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")
_TOML_KEY, _JSON_KEY = r"""(?m:^[ \t]*\[?|[{{,][ \t]*)(["']?{}["']?)[ \t]*[=\].]""", r'("{}")\s*:'
"""The pattern of a key in each format; ``format`` inserts the key's name."""


def parse(source: Source) -> dict[str, Any]:
    """The table or object of the file. Raises JobFileError."""
    return _parse_toml(source) if _is_toml(source) else _parse_json(source)


def _is_toml(source: Source) -> bool:
    return source.file.lower().endswith(".toml")


def _parse_toml(source: Source) -> dict[str, Any]:
    try:
        return tomllib.loads(source.text)
    except (ValueError, RecursionError) as error:
        raise _syntax("TOML", error, source) from None


def _parse_json(source: Source) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            name = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
            places = list(re.finditer(rf'"{re.escape(name)}"\s*:', source.text))
            at = places[1].start() if len(places) == 2 else None  # noqa: PLR2004 - only then the second match is certain
            raise source.error(f"found a second {shown(name)}, expected each key once", at)
        return found

    try:
        values = json.loads(source.text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _syntax("JSON", error, source) from None
    if not isinstance(values, dict):
        raise source.error("expected an object with model and input_data", 0)
    return values


def _syntax(form: str, error: Exception, source: Source) -> JobFileError:
    if isinstance(error, RecursionError):
        return source.error(f"objects and arrays are nested more than {MAX_DEPTH} deep")
    if isinstance(error, json.JSONDecodeError):
        return source.error(f"not valid JSON: {_lower(error.msg)}", error.pos)
    if not isinstance(error, tomllib.TOMLDecodeError):  # Python limits the digits of an integer
        return source.error(f"not usable {form}: a number has too many digits")
    found = _TOML_PLACE.fullmatch(str(error))
    if not found:
        return source.error(f"not valid TOML: {_lower(str(error))}")
    before = source.text.split("\n")[: int(found[2]) - 1] if found[2] else []
    at = sum(len(line) + 1 for line in before) + int(found[3]) - 1 if found[2] else len(source.text)
    return source.error(f"not valid TOML: {_lower(found[1])}", at)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def to_run_job(values: Mapping[str, Any], source: Source) -> RunJob:
    """Make a RunJob from ``parse``'s value. Raises JobFileError, with line and column if they are known."""
    key = _TOML_KEY if _is_toml(source) else _JSON_KEY
    fields: dict[str, Any] = {"title": Job("").title, "function": FUNCTION, "input": {}}
    for name, value in values.items():
        at = _place(name, source, key)
        outside = name in _OUTSIDE
        if at is not None:
            source.marks[name if outside else f"input.{name}"] = at
        plain = plain_json(value, name, source, key)
        if outside:
            fields[name] = plain
        else:
            fields["input"][name] = plain
    return make_run_job(fields, source, {})


def _place(name: str, source: Source, key: str) -> int | None:
    """The offset of a key. The parsers report no positions, so it is searched in the text; None if not unique."""
    found = list(re.finditer(key.format(re.escape(name)), source.text))
    return found[0].start(1) if len(found) == 1 else None


def plain_json(value: Any, path: str, source: Source, key: str, depth: int = 2) -> Any:
    """The value in JSON's types. ``path`` (like ``input_data.scale``) names it in errors; ``key`` matches a key."""

    def error(message: str) -> JobFileError:
        leaf = path.rsplit(".", 1)[-1].partition("[")[0]
        return source.error(
            f"{path if len(path) <= _SHOWN else path[:_SHOWN] + '…'} {message}", _place(leaf, source, key)
        )

    match value:
        case dict() | list() if depth > MAX_DEPTH:
            raise error(f"is nested more than {MAX_DEPTH} deep")
        case dict():
            members = {}
            for name, member in value.items():
                members[name] = plain_json(member, f"{path}.{name}", source, key, depth + 1)
            return members
        case list():
            items = []
            for index, item in enumerate(value):
                items.append(plain_json(item, f"{path}[{index}]", source, key, depth + 1))
            return items
        case float() if not math.isfinite(value):
            raise error(f"must be a finite number, found {value}")
        case str() if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise error("must be valid Unicode, found half of a surrogate pair")
        case dt.date() | dt.time():
            return value.isoformat()
    return value
