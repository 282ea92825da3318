"""Shortens a response for a terminal. A pipe gets the whole response."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from replicate_job.decoding import convert
from replicate_job.inputs.sent_file import SentFile, name_files, sent_file
from replicate_job.job import Result
from replicate_job.outputs.discover import as_text
from replicate_job.quantity import size

TEXT = 400
"""The most characters that are shown of a text in the input. An output's text is never cut: the user asked for it."""
ITEMS = 20
"""The most items that are shown of a list, unless all its items are numbers."""
NUMBERS = 4
"""The most items that are shown of a list of numbers: an embedding has thousands."""


def brief(result: Result, response: dict[str, Any], schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the response with each file's content replaced by its name and size, and with long lists and inputs cut.

    ``schema`` is the model's OpenAPI document. It says whether a list of texts is one text in pieces.
    """
    words = text_of(result.output, schema)
    output = words if words is not None else _short(result.output, cut=False)
    if result.steps:
        response |= {"steps": {name: brief(step, response["steps"][name]) for name, step in result.steps.items()}}
    return response | {"input": short_input(result.input, result.sent), "output": output}


def short_input(values: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    short: dict[str, Any] = _short(name_files(values, names), cut=True)
    return short


def text_of(output: Any, schema: Mapping[str, Any] | None, *, origin: str | None = None) -> str | None:
    """The output as one text; None if it is not text.

    Without a schema, the blanks where one item of a list ends and the next begins decide. If there are at least a
    quarter as many such blanks as items, the list is one text in pieces: streamed words have blanks, captions do not.
    """
    words = as_text(output, schema, origin=origin)
    if schema is not None or words is None or isinstance(output, str):
        return words
    blanks = sum(first[-1:].isspace() or second[:1].isspace() for first, second in pairwise(output))
    return words if blanks * 4 >= len(output) else None


def _recorded(value: dict[str, Any]) -> SentFile | None:
    """The file that an object in the journal describes; None for an object that describes no file."""
    if not {"media_type", "size", "sha256"} <= value.keys() <= {"name", "media_type", "size", "sha256"}:
        return None
    try:
        return convert(value, SentFile)
    except msgspec.ValidationError:
        return None


def _short(value: Any, *, cut: bool) -> Any:
    match value:
        case SentFile():
            return f"{value.name or value.media_type} ({size(value.size)})"
        case str() if value[:5].lower() == "data:" and (file := sent_file(value)):
            return _short(file, cut=cut)
        case str() if cut and len(value) > TEXT:
            return f"{value[:TEXT]}… ({len(value):,} characters)"
        case dict():
            file = _recorded(value)
            return _short(file, cut=cut) if file else {name: _short(item, cut=cut) for name, item in value.items()}
        case list():
            most = NUMBERS if all(isinstance(item, int | float) for item in value) else ITEMS
            rest = [f"… {len(value) - most:,} more"] if len(value) > most else []
            return [_short(item, cut=cut) for item in value[:most]] + rest
    return value
