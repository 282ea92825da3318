"""Content codings (RFC 9110, 8.4), for hosts that compress although uncompressed content was requested."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from replicate_job.base_errors import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

LIBRARYS = frozenset({"br", "zstd"})
"""Codings that the HTTP library can decode and Python cannot."""
ZLIBS = frozenset({"gzip", "x-gzip", "deflate"})
KNOWN = LIBRARYS | ZLIBS

_STEP = 1024 * 1024  # Bytes to decompress in one step: a small body can expand to a large file.
_GZIP_MAGIC = 0x1F
_GZIP, _RAW = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_ZLIB_METHOD, _ZLIB_CHECK = 8, 31  # RFC 1950: the beginning of a zlib stream, which RFC 9110 calls ``deflate``


def coding_of(headers: Mapping[str, str]) -> str:
    """The Content-Encoding. Empty for uncompressed content."""
    coding = headers.get("content-encoding", "").strip().lower()
    return "" if coding == "identity" else coding


async def decoded(chunks: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """The decompressed content of ``gzip`` or ``deflate`` bytes. Raises NoAnswerError for damaged or incomplete bytes.

    This function uses zlib, because the HTTP library stops after the first member of a gzip file.
    """
    members = _Members(coding)
    try:
        async for chunk in chunks:
            for block in members.feed(chunk):
                yield block
    except zlib.error as error:
        raise NoAnswerError(f"it came as {coding} and cannot be decoded: {error}") from None
    if not members.are_whole:
        raise NoAnswerError(f"it came as {coding} and ends too early")


class _Members:
    """Decompresses the members of a gzip file one after the other, or the stream of ``deflate``. Ignores padding."""

    def __init__(self, coding: str) -> None:
        self._coding, self._count = coding, 0
        self._current: zlib._Decompress | None = None

    @property
    def are_whole(self) -> bool:
        return self._count > 0 and self._current is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and (self._current or self._begins(data)):
            if self._current is None:
                self._current, self._count = zlib.decompressobj(_window(self._coding, data)), self._count + 1
            member = self._current
            yield (block := member.decompress(data, _STEP))
            data = member.unconsumed_tail
            while len(block) == _STEP and not data:  # all input is read, and more output may follow
                yield (block := member.decompress(b"", _STEP))
            if member.eof:
                data, self._current = member.unused_data, None

    def _begins(self, data: bytes) -> bool:
        return not self._count or (self._coding != "deflate" and data[0] == _GZIP_MAGIC)


def _window(coding: str, data: bytes) -> int:
    """The window size for zlib. Some servers send ``deflate`` without a zlib header, which browsers accept too."""
    if coding != "deflate":
        return _GZIP
    is_wrapped = data[0] & 15 == _ZLIB_METHOD and (len(data) == 1 or int.from_bytes(data[:2], "big") % _ZLIB_CHECK == 0)
    return zlib.MAX_WBITS if is_wrapped else _RAW
