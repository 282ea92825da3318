"""A file of an input that has no path: bytes in a program's memory, or an open file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from replicate_job.wire import data_url
from replicate_job.wire.media import extension, media_type, right_name, suffix_of
from replicate_job.wire.signature import LONGEST, sniff

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGEST = 100 * 1024**2
"""The most bytes of one file that is sent to the API. The API's limit is "100 MB", read here as mebibytes. If the API
means megabytes, it refuses a file between the two sizes with status 413, before anything is paid for."""

UNNAMED = "file"  # the name that the official client uses
_NAME = 255  # the most bytes of UTF-8 in a file name that the API takes
_HOLDERS = (dict, list, tuple)


class Content:
    """A file to send. Two contents are equal if their bytes are equal, even if their names differ.

    ``size`` is in bytes, ``sha256`` in hex. ``data`` is None in a job from the journal, which stores no
    file content. This class is not a msgspec Struct, because the JSON of a Struct would contain the data.
    """

    __slots__ = ("data", "media_type", "name", "sha256", "size")

    def __init__(self, name: str, media_type: str, size: int, sha256: str, data: bytes | None = None) -> None:
        self.name, self.media_type, self.size, self.sha256, self.data = name, media_type, size, sha256, data

    @classmethod
    def of(cls, data: bytes, name: str = "") -> Content:
        """Make a content of bytes.

        Suffix and media type follow from the first bytes: a PNG without a name is ``file.png``.
        """
        head = data[:LONGEST]
        sniffed = sniff(head)
        name = file_name(name, head) if name else UNNAMED + ((sniffed and extension(sniffed)) or "")
        return cls(name, media_type(name, head), len(data), hashlib.sha256(data).hexdigest(), data)

    def __eq__(self, other: object) -> bool:
        return self.sha256 == other.sha256 if isinstance(other, Content) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __str__(self) -> str:
        return f"{self.name} ({self.size:,} bytes)"

    def __repr__(self) -> str:
        return f"<{self}, {self.media_type}, SHA-256 {self.sha256}>"


def file_name(name: str, head: bytes = b"") -> str:
    """The name, cut to 255 bytes of UTF-8. A suffix that contradicts ``head``, the file's first bytes, is replaced."""
    name = right_name(name.encode(errors="replace").decode(), head)
    if len(name.encode()) <= _NAME:
        return name
    suffix = suffix_of(name).encode()[-20:]
    return name.encode()[: _NAME - len(suffix)].decode(errors="ignore") + suffix.decode(errors="ignore")


def contents(values: Any) -> Iterator[Content]:
    """Every ``Content`` in an input, at any depth."""
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, Content):
            yield value
        elif isinstance(value, _HOLDERS):
            yield from contents(value)


def carried(values: Any) -> Iterator[Content]:
    """The decoded content of every data URL in a create request's input."""
    match values:
        case str() if values[:5].lower() == "data:":
            try:
                yield Content.of(data_url.decode(values)[1])
            except ValueError:
                return
        case dict() | list():
            for value in values.values() if isinstance(values, dict) else values:
                yield from carried(value)


def fill(values: Any, data: Mapping[str, bytes]) -> Any:
    """A copy of the input. A ``Content`` without bytes gets its bytes from ``data``, which maps a SHA-256 to bytes."""
    match values:
        case Content(data=None) if values.sha256 in data:
            return Content(values.name, values.media_type, values.size, values.sha256, data[values.sha256])
        case dict():
            return {name: fill(value, data) for name, value in values.items()}
        case list() | tuple():
            return [fill(value, data) for value in values]
    return values
