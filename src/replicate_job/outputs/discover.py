"""Distinguishes files from text in a prediction's output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from replicate_job.wire.data_url import read_head
from replicate_job.wire.openapi import Position, Text, alternatives, definition, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

DELIVERY = "replicate.delivery"
"""The host of output files, together with its subdomains."""

_REMOTE = re.compile(r"https?://\S+", re.IGNORECASE)


class OutputFile(msgspec.Struct, frozen=True):
    position: Position
    url: str


def find_files(
    output: Any, document: Mapping[str, Any] | None = None, *, origin: str | None = None
) -> list[OutputFile]:
    """The http(s) and data URLs of an output that are files, in the order of the output.

    The ``Output`` schema of the model's OpenAPI ``document`` decides: a string with ``format: uri`` is a file, any
    other string is text. Without a document, or where the schema states no type, a file is a URL at a delivery host or
    at the API's own ``origin`` (such as ``http://127.0.0.1:5000``), or a data URL that names a media type or is base64.
    """
    own = _origin(origin) if origin else None
    return [OutputFile(one.position, one.text) for one in texts(output, document, "Output") if _is_file(one, own)]


def as_text(output: Any, document: Mapping[str, Any] | None = None, *, origin: str | None = None) -> str | None:
    """The output as one text; None if it is not text.

    A string that is not a file is text. A list of strings is text if the schema says so (an iterator that is displayed
    concatenated). Without a schema, a list of strings without files is text: language models return lists of words.
    """
    if isinstance(output, str):
        return None if find_files(output, document, origin=origin) else output
    if not isinstance(output, list) or not output or not all(isinstance(part, str) for part in output):
        return None
    schema = definition(document, "Output")
    if schema is None:
        return None if find_files(output, origin=origin) else "".join(output)
    return "".join(output) if is_text(document) else None


def text_in(output: Any, document: Mapping[str, Any] | None = None, *, origin: str | None = None) -> str:
    """The text in an output, which may be a list with numbers, objects and files too. Empty if there is no text.

    The strings of a list are joined without a separator if the schema says that they are pieces of one text, or if
    there is no schema. Otherwise each string becomes a line.
    """
    if not isinstance(output, list):
        return as_text(output, document, origin=origin) or ""
    files = {file.position for file in find_files(output, document, origin=origin)}
    found = [item for index, item in enumerate(output) if isinstance(item, str) and (index,) not in files]
    return ("" if definition(document, "Output") is None or is_text(document) else "\n").join(found)


def is_text(document: Mapping[str, Any] | None) -> bool:
    """Whether the schema says that the output's items are pieces of one text."""
    schema = definition(document, "Output")
    return any(
        one.get("x-cog-array-type") == "iterator" and one.get("x-cog-array-display") == "concatenate"
        for one in alternatives(document or {}, schema)
    )


def can_be_fetched(text: str) -> bool:
    """Whether the text is an http(s) or data URL."""
    return _REMOTE.fullmatch(text) is not None or read_head(text) is not None


def _is_file(found: Text, origin: tuple[str, str] | None) -> bool:
    if found.may_be_other and not found.may_be_file:
        return False
    if data := read_head(found.text):
        return found.may_be_file or bool(data.media_type) or data.is_base64
    if not _REMOTE.fullmatch(found.text):
        return False
    return (found.may_be_file and not found.may_be_other) or _delivers(found.text, origin)


def _delivers(url: str, origin: tuple[str, str] | None) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == DELIVERY or host.endswith("." + DELIVERY) or (origin is not None and _origin(url) == origin)
    except ValueError:  # a malformed URL, such as http://[
        return False


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
