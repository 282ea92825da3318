"""Finds the files in an input or an output, by position, and replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.wire.openapi import Position, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_job.wire.openapi import Text


def find_files(value: Any, document: dict[str, Any], name: str, position: Position = ()) -> dict[Position, str]:
    """Map the position of each file in a value to its text, which is a URL. The value itself is at ``position``.

    The definition ``name`` in the document decides: a text with ``format: uri`` is a file. If the schema allows other
    texts too, a text is a file if it is an http or data URL. If the schema says nothing, only a data URL is a file.
    """
    return {text.position: text.text for text in texts(value, document, name, position) if _is_file(text)}


def replaced(value: Any, files: Mapping[Position, str], position: Position = ()) -> Any:
    """A copy of the value. ``files`` maps positions to the texts to put there. The value itself is at ``position``."""
    if isinstance(value, list):
        return [replaced(item, files, (*position, index)) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: replaced(item, files, (*position, key)) for key, item in value.items()}
    return files.get(position, value)


def _is_file(text: Text) -> bool:
    if text.may_be_file:
        return not text.may_be_other or is_web(text.text) or is_data(text.text)
    # Cog describes an output of type Any as "object". For a text in such an output, both flags are False.
    return is_data(text.text) and not text.may_be_other


def is_web(text: str) -> bool:
    return text[:8].lower().startswith(("http:", "https:"))


def is_data(text: str) -> bool:
    return text[:5].lower() == "data:"
