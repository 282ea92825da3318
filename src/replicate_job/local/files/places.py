"""Where files are in an input or an output: what the model's schema says at each place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.wire.openapi import Schema, alternatives, definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Position = tuple[str | int, ...]
"""The steps that lead to a value: ``()`` for the whole, ``("images", 0)`` inside it."""


def replace_files(
    value: Any,
    document: dict[str, Any],
    name: str,
    replace: Callable[[Position, str], str],
    *,
    position: Position = (),
) -> Any:
    """The value with ``replace(position, text)`` in place of every text that is a file.

    The document's definition of this ``name`` decides: ``format: uri`` is a file. Where it says nothing at all, a data
    URL is. A text where the schema allows both is a file if it has the form of an address. ``position`` is where in
    the whole the value is. Raises what ``replace`` raises.
    """
    schemas = list(alternatives(document, definition(document, name) or {}))
    for step in position:
        schemas = list(_below(document, schemas, step))
    return _replace(value, document, schemas, replace, position)


def _replace(
    value: Any,
    document: dict[str, Any],
    schemas: list[Schema],
    replace: Callable[[Position, str], str],
    position: Position,
) -> Any:
    if isinstance(value, str):
        return replace(position, value) if _is_file(value, schemas) else value

    def inside(step: str | int, item: Any) -> Any:
        if not isinstance(item, str | list | dict):
            return item
        return _replace(item, document, list(_below(document, schemas, step)), replace, (*position, step))

    if isinstance(value, list):
        return [inside(index, item) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {step: inside(step, item) for step, item in value.items()}
    return value


def _below(document: dict[str, Any], schemas: Iterable[Schema], step: str | int) -> Iterator[Schema]:
    """The schemas of a list's items, or of an object's member."""
    for one in schemas:
        if isinstance(step, int):
            found = one.get("items")
        else:
            found = (one.get("properties") or {}).get(step, one.get("additionalProperties"))
        if isinstance(found, dict):
            yield from alternatives(document, found)


def _is_file(text: str, schemas: list[Schema]) -> bool:
    says_file = any(one.get("format") == "uri" for one in schemas)
    says_text = any(one.get("type") == "string" and one.get("format") != "uri" for one in schemas)
    if says_file:
        return not says_text or is_web(text) or is_data(text)
    return is_data(text) and not says_text  # an output of any type is an object by its schema, as Cog has it


def is_web(text: str) -> bool:
    return text[:8].lower().startswith(("http:", "https:"))


def is_data(text: str) -> bool:
    return text[:5].lower() == "data:"
