"""The files of an input after they were sent: names and hashes in place of data URLs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.inputs.content import Content
from replicate_job.inputs.upload import has_files
from replicate_job.wire import data_url


class SentFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that was sent inside a request. ``name`` is None for a data URL, which has no name.

    ``size`` is in bytes, ``sha256`` in hex.
    """

    name: str | None = None
    media_type: str
    size: int
    sha256: str


def file_names(values: Any) -> dict[str, str]:
    """Maps the place of each file (``Path`` or ``Content``) in an input, like ``images[1]``, to the file's name."""
    if not has_files(values):
        return {}
    return {place: value.name for place, value in _leaves(values, "") if isinstance(value, Path | Content)}


def name_files(values: dict[str, Any], names: Mapping[str, str], *, texts: bool = False) -> dict[str, Any]:
    """A copy of an input in which a ``SentFile`` replaces every ``Content`` and every data URL in base64.

    ``names`` maps each file's position in the input (``images[1]``) to the file's name. ``texts``: data URLs of plain
    text are replaced too.
    """
    try:
        return {name: _named(value, names, name, texts=texts) for name, value in values.items()}
    except RecursionError:  # an input that is nested so deeply is refused elsewhere
        return values


def _named(value: Any, names: Mapping[str, str], place: str, *, texts: bool) -> Any:
    match value:
        case dict():
            return {key: _named(item, names, _inside(place, str(key)), texts=texts) for key, item in value.items()}
        case list():
            return [_named(item, names, f"{place}[{index}]", texts=texts) for index, item in enumerate(value)]
        case str() if value[:5].lower() == "data:":
            return sent_file(value, names.get(place), texts=texts) or value
        case Content():
            return SentFile(name=value.name, media_type=value.media_type, size=value.size, sha256=value.sha256)
    return value


def sent_file(url: str, name: str | None = None, *, texts: bool = False) -> SentFile | None:
    """Describe the file in a data URL. None if the URL is broken, or is not in base64 and ``texts`` is False."""
    head = data_url.read_head(url)
    if head is None or not (texts or head.is_base64):
        return None
    try:
        media_type, content = data_url.decode(url)
    except ValueError:
        return None
    digest = hashlib.sha256(content).hexdigest()
    return SentFile(name=name, media_type=media_type, size=len(content), sha256=digest)


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for key, item in value.items():
                yield from _leaves(item, _inside(place, str(key)))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _leaves(item, f"{place}[{index}]")
        case _:
            yield place, value


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
