"""Finds files that a model's schema promises and its output lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.outputs.discover import can_be_fetched
from replicate_job.wire.openapi import alternatives, below, definition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from replicate_job.wire.openapi import Position, Schema

_DEEPEST = 8
"""The deepest level of a schema that is read. A limit is needed because a schema may refer to itself."""


def broken_promise(output: Any, document: Mapping[str, Any] | None) -> str:
    """Describe for a message the file that a successful prediction's output lacks. Empty if no file is missing.

    A file is promised if the schema allows nothing else, not even null. It is missing if there is null, an empty list,
    or text other than a URL in its place.
    """
    schema = definition(document, "Output")
    if document is None or schema is None:
        return ""
    found = _missing(document, (), output, list(alternatives(document, schema)))
    position, value = next(found, (None, None))
    if position is None:
        return ""
    where = "output" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in position)
    return f"it succeeded without a file that the model's schema promises: {where} is {_shown(value)}"


def can_promise(document: Mapping[str, Any] | None) -> bool:
    """Whether the schema allows a file anywhere. If not, ``broken_promise`` need not be called for any output."""
    schema = definition(document, "Output")
    return document is not None and schema is not None and _names_file(document, schema, 0)


def _names_file(document: Mapping[str, Any], schema: Schema, depth: int) -> bool:
    if depth > _DEEPEST:
        return True
    for option in alternatives(document, schema):
        inside = [option.get("items"), option.get("additionalProperties"), *(option.get("properties") or {}).values()]
        if _is_file(option) or any(
            isinstance(part, dict) and _names_file(document, part, depth + 1) for part in inside
        ):
            return True
    return False


def _missing(
    document: Mapping[str, Any], position: Position, value: Any, schemas: list[Schema]
) -> Iterator[tuple[Position, Any]]:
    """The positions that lack a file, each with its value."""
    if len(position) > _DEEPEST:
        return
    if isinstance(value, str):
        if schemas and all(map(_is_file, schemas)) and not can_be_fetched(value):
            yield position, value
    elif not value or not isinstance(value, list | dict):
        if schemas and all(_promises(document, schema, 0) for schema in schemas):
            yield position, value
    else:
        for step, item in enumerate(value) if isinstance(value, list) else value.items():
            yield from _missing(document, (*position, step), item, below(document, schemas, step))


def _is_file(schema: Schema) -> bool:
    return schema.get("format") == "uri"


def _promises(document: Mapping[str, Any], schema: Schema, depth: int) -> bool:
    """Whether every value of this schema is a file, an object with a file, or a list of files."""
    if _is_file(schema) or depth > _DEEPEST:
        return _is_file(schema)
    required = schema.get("required") or ()
    inside = [schema.get("items"), schema.get("additionalProperties")]
    inside += [found for name, found in (schema.get("properties") or {}).items() if name in required]
    return any(
        all(_promises(document, one, depth + 1) for one in alternatives(document, part))
        for part in inside
        if isinstance(part, dict) and part
    )


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case [] | {}:
            return "empty"
        case str():
            return "no address" if value else "empty"
    return "no address"
