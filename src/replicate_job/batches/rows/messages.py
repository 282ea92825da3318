"""The messages of an Arrow file or stream: how large one is, before any of it is unpacked.

The format is that of ``Message.fbs`` of Arrow, in FlatBuffers. A file is a stream between two marks, with a table of
contents at its end, which is not needed to read it from its beginning.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from replicate_job.wire.bounds import LARGEST

if TYPE_CHECKING:
    import io

LARGEST_BATCH = 3 * LARGEST // 2
"""Bytes of a batch of rows, unpacked, with all dictionaries, each of which is in memory three times."""
_MARK = b"ARROW1\0\0"
_GOES_ON = b"\xff\xff\xff\xff"  # begins a message, but for those of before 2019
_DICTIONARY, _ROWS = 2, 3  # types of messages
_BUFFER = 16  # bytes of what says where one is, and of what length
_UNPACKED = -1  # in the place of a length: it is not packed, though the others are


class BatchTooLargeError(ValueError):
    """A batch has more bytes than ``LARGEST_BATCH``, unpacked."""


class Messages:
    """A file for pyarrow to read a stream from. Raises ValueError for what is no message, and BatchTooLargeError."""

    closed = False

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._ready: deque[bytes] = deque()
        self._dictionaries: dict[int, int] = {}
        if file.peek(len(_MARK)).startswith(_MARK[:6]):
            file.read(len(_MARK))

    def close(self) -> None:
        """Do nothing: the file is its opener's."""

    def read(self, count: int) -> bytes:
        """As pyarrow asks: first what begins a message, then its parts, each as a whole."""
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
        length = self._file.read(4) if start == _GOES_ON else start
        parts = [start, length] if start == _GOES_ON else [start]
        size = int.from_bytes(length, "little")
        if len(length) == 4 and size:  # noqa: PLR2004 - else it is the end
            if size > LARGEST:
                raise ValueError("a message has a head that is too long")
            head = self._file.read(size)
            parts += [head, self._body(head)]
        self._ready.extend(filter(None, parts))

    def _body(self, head: bytes) -> bytes:
        try:
            message = _Table.root(head)
            size = message.number(3, "<q")
            if not 0 <= size <= LARGEST_BATCH:
                raise _too_large() if size > 0 else ValueError("a message has a length that cannot be")
            body = self._file.read(size)
            kind = message.number(1, "<B")
            if kind in {_DICTIONARY, _ROWS}:
                self._check(message.table(2), body, is_dictionary=kind == _DICTIONARY)
        except (struct.error, LookupError):
            raise ValueError("a message cannot be read") from None
        return body

    def _check(self, table: _Table, body: bytes, *, is_dictionary: bool) -> None:
        """Raise BatchTooLargeError where it takes too much together with the dictionaries that are there."""
        unpacked = _unpacked(table.table(1) if is_dictionary else table, body)
        if is_dictionary:
            number = table.number(0, "<q")
            is_more = bool(table.number(2, "<B"))
            unpacked += self._dictionaries.get(number, 0) if is_more else 0
            self._dictionaries[number] = unpacked
            unpacked = 0
        if unpacked + 3 * sum(self._dictionaries.values()) > LARGEST_BATCH:
            raise _too_large()


def _too_large() -> BatchTooLargeError:
    return BatchTooLargeError(
        f"a batch of rows is larger than {LARGEST_BATCH // 1024**2} MB, and nothing after it is read;"
        " write the file with fewer rows a batch (chunksize=)"
    )


def _unpacked(batch: _Table, body: bytes) -> int:
    """Bytes of all buffers of a batch. Of one that is packed, the first eight say them."""
    is_packed = batch.has(3)
    total = 0
    for place, length in batch.pairs(2):
        if is_packed and length > 0:
            (size,) = struct.unpack_from("<q", body, place)
            length = size if size != _UNPACKED else length  # noqa: PLW2901
        if length < 0:
            raise ValueError("a message has a length that cannot be")
        total += length
    return total


class _Table:
    """A table of FlatBuffers. A field that is not there is 0."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place
        self._fields = place - struct.unpack_from("<i", data, place)[0]
        self._size = struct.unpack_from("<H", data, self._fields)[0]

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def has(self, field: int) -> bool:
        return bool(self._at(field))

    def number(self, field: int, form: str) -> int:
        place = self._at(field)
        return int(struct.unpack_from(form, self._data, place)[0]) if place else 0

    def table(self, field: int) -> _Table:
        return _Table(self._data, self._target(field))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of structs of two numbers."""
        if not self.has(field):
            return []
        place = self._target(field)
        (count,) = struct.unpack_from("<I", self._data, place)
        end = place + 4 + count * _BUFFER
        return list(struct.iter_unpack("<qq", memoryview(self._data)[place + 4 : end]))

    def _target(self, field: int) -> int:
        place = self._at(field)
        if not place:
            raise LookupError(field)
        return place + int(struct.unpack_from("<I", self._data, place)[0])

    def _at(self, field: int) -> int:
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return 0
        offset = struct.unpack_from("<H", self._data, self._fields + slot)[0]
        return self._place + int(offset) if offset else 0
