"""Where files are in an input or an output, and putting others in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.wire.openapi import Position, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_job.wire.openapi import Text


def find_files(value: Any, document: dict[str, Any], name: str, position: Position = ()) -> dict[Position, str]:
    """The texts of a value that are files, by where they are. ``position`` is where in the whole the value is.

    The document's definition of this ``name`` decides: ``format: uri`` is a file. Where it says nothing at all, a data
    URL is. A text where the schema allows both is a file if it has the form of an address.
    """
    return {found.position: found.text for found in texts(value, document, name, position) if _is_file(found)}


def replaced(value: Any, files: Mapping[Position, str], position: Position = ()) -> Any:
    """The value with these texts at their positions, in lists and objects of its own."""
    if isinstance(value, list):
        return [replaced(item, files, (*position, index)) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: replaced(item, files, (*position, key)) for key, item in value.items()}
    return files.get(position, value)


def _is_file(found: Text) -> bool:
    if found.may_be_file:
        return not found.may_be_other or is_web(found.text) or is_data(found.text)
    return is_data(found.text) and not found.may_be_other  # an output of any type is an object by its schema, as in Cog


def is_web(text: str) -> bool:
    return text[:8].lower().startswith(("http:", "https:"))


def is_data(text: str) -> bool:
    return text[:5].lower() == "data:"
