"""The messages of an Arrow file or stream: their sizes are checked before a batch of rows is decompressed.

The format is that of ``Message.fbs`` of Arrow, in FlatBuffers. A file is a stream between two magic numbers, with an
index at its end. The index is not needed to read from the beginning.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from replicate_job.wire.bounds import LARGEST

if TYPE_CHECKING:
    import io

LARGEST_BATCH = 3 * LARGEST // 2
"""The most bytes of a decompressed batch of rows together with all dictionaries, each of which counts three times."""
_MAGIC = b"ARROW1\0\0"  # the beginning of a file; a stream starts with its first message
_CONTINUATION = b"\xff\xff\xff\xff"  # the beginning of a message, except in files from before 2019
_DICTIONARY, _ROWS = 2, 3  # types of messages
_BUFFER = 16  # bytes of the struct with the offset and the length of a buffer
_NOT_COMPRESSED = -1  # in place of the size of a buffer that is not compressed, in a compressed batch


class BatchTooLargeError(ValueError):
    """A decompressed batch has more bytes than ``LARGEST_BATCH``."""


class ArrowMessages:
    """The file object from which pyarrow reads. Raises ValueError for a broken message, and BatchTooLargeError."""

    closed = False

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._ready: deque[bytes] = deque()
        self._dictionaries: dict[int, int] = {}  # the bytes of each dictionary, by its number
        if file.peek(len(_MAGIC)).startswith(_MAGIC[:6]):
            file.read(len(_MAGIC))

    def close(self) -> None:
        """Do nothing: the caller that opened the file closes it."""

    def read(self, count: int) -> bytes:
        """The next bytes. pyarrow reads the length of a message, and then each of its parts with one call."""
        if not self._ready:
            self._next()
        portion = self._ready.popleft() if self._ready else b""
        if len(portion) > count:
            self._ready.appendleft(portion[count:])
            return portion[:count]
        while len(portion) < count and self._ready:
            rest = self.read(count - len(portion))
            portion += rest
        return portion

    def _next(self) -> None:
        start = self._file.read(4)
        length = self._file.read(4) if start == _CONTINUATION else start
        parts = [start, length] if start == _CONTINUATION else [start]
        size = int.from_bytes(length, "little")
        if len(length) == 4 and size:  # noqa: PLR2004 - a size of 0 ends the stream
            if size > LARGEST:
                raise ValueError("a message has a head that is too long")
            head = self._file.read(size)
            parts += [head, self._body(head)]
        self._ready.extend(filter(None, parts))

    def _body(self, head: bytes) -> bytes:
        try:
            message = _FlatTable.root(head)
            size = message.number(3, "<q")
            if not 0 <= size <= LARGEST_BATCH:
                raise _too_large() if size > 0 else ValueError("a message has an impossible length")
            body = self._file.read(size)
            # Only dictionaries and rows contain compressed data; other messages, such as the schema, do not.
            kind = message.number(1, "<B")
            if kind in {_DICTIONARY, _ROWS}:
                self._check(message.table(2), body, is_dictionary=kind == _DICTIONARY)
        except (struct.error, LookupError):
            raise ValueError("a message cannot be read") from None
        return body

    def _check(self, table: _FlatTable, body: bytes, *, is_dictionary: bool) -> None:
        """Raise BatchTooLargeError if the batch and all dictionaries so far take too much memory."""
        size = _decompressed_size(table.table(1) if is_dictionary else table, body)
        if is_dictionary:
            number = table.number(0, "<q")
            is_delta = bool(table.number(2, "<B"))  # the message adds to a dictionary instead of replacing it
            self._dictionaries[number] = size + (self._dictionaries.get(number, 0) if is_delta else 0)
            size = 0
        if size + 3 * sum(self._dictionaries.values()) > LARGEST_BATCH:
            raise _too_large()


def _too_large() -> BatchTooLargeError:
    return BatchTooLargeError(
        f"a batch of rows is larger than {LARGEST_BATCH // 1024**2} MB, and nothing after it is read;"
        " write the file with fewer rows a batch (chunksize=)"
    )


def _decompressed_size(batch: _FlatTable, body: bytes) -> int:
    """Bytes of all buffers of a batch. A compressed buffer starts with its decompressed size, in eight bytes."""
    is_compressed = batch.has(3)
    total = 0
    for offset, length in batch.pairs(2):
        if is_compressed and length > 0:
            (size,) = struct.unpack_from("<q", body, offset)
            length = size if size != _NOT_COMPRESSED else length  # noqa: PLW2901
        if length < 0:
            raise ValueError("a message has an impossible length")
        total += length
    return total


class _FlatTable:
    """A table of FlatBuffers. A number that is missing is 0."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._start = data, start
        self._fields = start - struct.unpack_from("<i", data, start)[0]
        self._size = struct.unpack_from("<H", data, self._fields)[0]

    @classmethod
    def root(cls, data: bytes) -> _FlatTable:
        return cls(data, struct.unpack_from("<I", data)[0])

    def has(self, field: int) -> bool:
        return bool(self._position(field))

    def number(self, field: int, form: str) -> int:
        position = self._position(field)
        return int(struct.unpack_from(form, self._data, position)[0]) if position else 0

    def table(self, field: int) -> _FlatTable:
        return _FlatTable(self._data, self._target(field))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """The field, a vector of structs of two numbers each; empty if the field is missing."""
        if not self.has(field):
            return []
        start = self._target(field)
        (count,) = struct.unpack_from("<I", self._data, start)
        end = start + 4 + count * _BUFFER
        return list(struct.iter_unpack("<qq", memoryview(self._data)[start + 4 : end]))

    def _target(self, field: int) -> int:
        position = self._position(field)
        if not position:
            raise LookupError(field)
        return position + int(struct.unpack_from("<I", self._data, position)[0])

    def _position(self, field: int) -> int:
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return 0
        offset = struct.unpack_from("<H", self._data, self._fields + slot)[0]
        return self._start + int(offset) if offset else 0
