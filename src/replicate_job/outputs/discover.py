"""Which values of a prediction's output are files, and whether the rest is text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from replicate_job.wire.data_url import read_head
from replicate_job.wire.openapi import Schema, alternatives, definition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DELIVERY = "replicate.delivery"
"""The host, with its subdomains, that output files live at."""

_REMOTE = re.compile(r"https?://\S+", re.IGNORECASE)


class OutputFile(msgspec.Struct, frozen=True):
    """``position`` leads to the value in the output: ``()`` for the output itself, ``("images", 0)`` inside it."""

    position: tuple[str | int, ...]
    url: str


def find_files(
    output: Any, document: Mapping[str, Any] | None = None, *, origin: str | None = None
) -> list[OutputFile]:
    """The http(s) and data URLs of an output that are files, in the order of the output.

    With the model's OpenAPI ``document`` its ``Output`` decides: ``format: uri`` is a file wherever it lives, any
    other string is text. Where it says nothing (no document, an untyped part), a file is what lies at a delivery host
    or at ``origin`` (the API's own, such as ``http://127.0.0.1:5000``), or is a data URL with a
    media type or in base64.
    """
    schema = definition(document, "Output")
    try:
        return list(_walk(output, (), [schema or {}], document or {}, _origin(origin) if origin else None))
    except RecursionError:  # no model nests its files a thousand deep
        return []


def as_text(output: Any, document: Mapping[str, Any] | None = None, *, origin: str | None = None) -> str | None:
    """The output as one text; None where it is something else.

    A string that is no file is text. A list of strings is, where the schema says so (an iterator that is displayed
    concatenated), or where there is no schema: unjoined lists of words are how language models answer.
    """
    if isinstance(output, str):
        return None if find_files(output, document, origin=origin) else output
    if not isinstance(output, list) or not output or not all(isinstance(part, str) for part in output):
        return None
    schema = definition(document, "Output")
    if schema is None:
        return None if find_files(output, origin=origin) else "".join(output)
    return "".join(output) if is_text(document) else None


def is_text(document: Mapping[str, Any] | None) -> bool:
    """Whether the schema says that the output's items are pieces of one text."""
    schema = definition(document, "Output")
    return any(
        one.get("x-cog-array-type") == "iterator" and one.get("x-cog-array-display") == "concatenate"
        for one in alternatives(document or {}, schema)
    )


def _walk(
    value: Any,
    position: tuple[str | int, ...],
    schemas: list[Schema],
    document: Mapping[str, Any],
    origin: tuple[str, str] | None,
) -> Iterator[OutputFile]:
    if isinstance(value, str):
        if _is_file(value, schemas, origin):
            yield OutputFile(position, value)
        return
    children: Iterator[tuple[str | int, Any]]
    if isinstance(value, list):
        children = iter(enumerate(value))
    elif isinstance(value, dict):
        children = iter(value.items())
    else:
        return
    for step, child in children:
        below = [one for schema in schemas for one in _below(schema, step, document)]
        yield from _walk(child, (*position, step), below or [{}], document, origin)


def _below(schema: Schema, step: str | int, document: Mapping[str, Any]) -> Iterator[Schema]:
    """The schemas of a list's items, or of an object's member."""
    for one in alternatives(document, schema):
        if isinstance(step, int):
            found = one.get("items")
        else:
            found = (one.get("properties") or {}).get(step, one.get("additionalProperties"))
        if isinstance(found, dict):
            yield from alternatives(document, found)


def _is_file(value: str, schemas: list[Schema], origin: tuple[str, str] | None) -> bool:
    says_file = any(one.get("format") == "uri" for one in schemas)
    says_text = any(one.get("type") == "string" and one.get("format") != "uri" for one in schemas)
    if says_text and not says_file:
        return False
    if data := read_head(value):
        return says_file or bool(data.media_type) or data.is_base64
    if not _REMOTE.fullmatch(value):
        return False
    return (says_file and not says_text) or _delivers(value, origin)


def _delivers(url: str, origin: tuple[str, str] | None) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == DELIVERY or host.endswith("." + DELIVERY) or (origin is not None and _origin(url) == origin)
    except ValueError:  # an address that is none, such as http://[
        return False


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
