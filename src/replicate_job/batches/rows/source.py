"""Opens a file of rows: decompressed, and as UTF-8 without a byte order mark."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1024**2
"""The number of bytes in one read if lines do not matter."""
SAMPLE = 64 * 1024
"""The most bytes that ``peek`` shows. A pipe shows only those that have arrived."""

BINARY = "binary"

_GZIP = b"\x1f\x8b"
_UTF8 = {"utf-8", "utf-8-sig"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def reading(file: str, encoding: str | None = None) -> Iterator[io.BufferedReader]:
    """The content of the file, or of stdin for ``-``. Content that is compressed by gzip is decompressed.

    ``encoding`` is the encoding of the text in the file; None means the encoding of the byte order mark, or UTF-8 if
    there is no mark. The text is converted to UTF-8; with ``BINARY`` the bytes stay as they are. A byte that is invalid
    in the encoding becomes a byte that is invalid in UTF-8. Within the block, every OSError becomes a JobError. Raises
    JobError also for text that is not in the encoding at all, and for a damaged gzip file.
    """
    try:
        with _opened(file) as opened:
            yield _as_utf8(_decompressed(opened), encoding)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise JobError(f"{file} is not whole: {str(error).lower()}; pack it again") from None
    except OSError as error:
        raise JobError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise JobError(f"{file} is not {error.encoding} text; give its --encoding, or save it as UTF-8") from None


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
    else:
        with Path(file).open("rb", SAMPLE) as opened:  # peek shows no more than the buffer holds
            yield opened


def _decompressed(opened: BinaryIO) -> io.BufferedReader:
    buffered = _peekable(opened)
    if buffered.peek(2)[:2] != _GZIP:
        return buffered
    return _peekable(cast("IO[bytes]", gzip.GzipFile(fileobj=buffered, mode="rb")))


def _peekable(opened: Any) -> io.BufferedReader:
    return opened if isinstance(opened, io.BufferedReader) else io.BufferedReader(opened, SAMPLE)


def _as_utf8(opened: io.BufferedReader, encoding: str | None) -> io.BufferedReader:
    if encoding == BINARY:
        return opened
    start = opened.peek(3)[:3]
    if start.startswith(_UTF16) and encoding is None:
        encoding = "utf-16"
    if encoding is not None and codecs.lookup(encoding).name not in _UTF8:
        return io.BufferedReader(_Recoder(opened, encoding), SAMPLE)
    if start == codecs.BOM_UTF8:
        opened.read(len(start))
    return opened


class _Recoder(io.RawIOBase):
    """Converts text in another encoding to UTF-8."""

    def __init__(self, source: io.BufferedReader, encoding: str) -> None:
        # If every character is one byte, a bad byte damages one row only. In other encodings it shifts all characters
        # after it, so the file is refused.
        errors = "strict" if encoding.lower().startswith(("utf", "u16", "u32")) else "surrogateescape"
        self._source, self._decoder = source, codecs.getincrementaldecoder(encoding)(errors)
        self._ready, self._ended, self._mark = b"", False, "\ufeff"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            block = self._source.read1(SAMPLE)
            self._ended = not block
            text = self._decoder.decode(block, final=self._ended)
            self._ready = text.removeprefix(self._mark).encode(errors="surrogateescape")
            self._mark = "" if text else self._mark  # only the start of the text can be a byte order mark
        piece, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)
