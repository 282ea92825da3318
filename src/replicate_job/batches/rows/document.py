"""Rows of a JSON document: an array of objects, or an object with one list of them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from replicate_job.batches.rows.lines import TOO_LONG, LineRows, problem_of, read_lines, row_of
from replicate_job.batches.rows.row import HEAD, Header, Row, names_of
from replicate_job.batches.rows.source import SAMPLE, reading
from replicate_job.errors import JobError
from replicate_job.wire.bounds import ROW

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence

LARGEST = 1024**3
"""Bytes of a document, which is in memory as a whole."""
_UNPACKED = 64 * 1024**2  # bytes of one that was packed: a small file must not describe a large document
_COMMAS = 1024**2  # in one that was packed: a row takes some 80 bytes of memory before it is read

_LIST, _OBJECT = msgspec.json.Decoder(list[msgspec.Raw]), msgspec.json.Decoder(dict[str, msgspec.Raw])


class JSONRows:
    """A document or JSON Lines, whichever it is. ``regular`` is False for a pipe.

    ``lines``: a line by itself that is a whole object is a row, and not a document.
    """

    typed = True

    def __init__(self, file: str, *, regular: bool, encoding: str | None = None, lines: bool) -> None:
        self._file, self._regular, self._encoding, self._lines = file, regular, encoding, lines
        self._by_line = LineRows(file, regular=regular, encoding=encoding)

    def header(self) -> Header:
        return Header(self._file, names_of(islice(self, HEAD)) if self._regular else None)

    def __iter__(self) -> Iterator[Row]:
        with reading(self._file, self._encoding) as file:
            if is_document(file, lines=self._lines):
                yield from map(_row, *_numbered(read_document(file, self._file, self._most())))
            else:
                yield from read_lines(file)

    def count(self, most: int | None = None) -> int | None:
        if not self._regular:
            return None
        with reading(self._file, self._encoding) as file:
            if is_document(file, lines=self._lines):
                number = len(read_document(file, self._file, self._most()))
                return number if most is None else min(number, most)
        return self._by_line.count(most)

    def remarks(self) -> list[str]:
        return []

    def _most(self) -> int:
        """Bytes of the document that are as real as those of the file."""
        return min(LARGEST, 2 * Path(self._file).stat().st_size) if self._regular else LARGEST  # UTF-8 may be longer


def is_document(file: io.BufferedReader, *, lines: bool) -> bool:
    """Whether what follows is no object a line. Nothing is taken from the file."""
    text = file.peek(SAMPLE).lstrip()
    first, _, rest = (part.strip() for part in text.partition(b"\n"))
    if rest and _is_whole(first):
        return False
    if lines and not text.startswith(b"["):
        return first == b"{" and rest.startswith(b'"')
    return bool(text)


def _is_whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def read_document(file: BinaryIO, name: str, most: int = LARGEST) -> Sequence[msgspec.Raw]:
    """The rows, each as it is written. Raises JobError where there is no list that is meant.

    ``most`` bytes are read; but from a file that was packed, as many as it may describe.
    """
    text = file.read(max(most, _UNPACKED) + 1)
    if len(text) > max(most, _UNPACKED) or (len(text) > most and text.count(b",") > _COMMAS):
        raise JobError(f"{name} is too large to be read as a whole: {_jq('.[]', name)} reads it row by row")
    try:
        if text.lstrip().startswith(b"["):
            return _LIST.decode(text)
        members = _OBJECT.decode(text)
    except (ValueError, RecursionError) as error:
        problem = problem_of(text, error)
        if "trailing" in problem:
            problem = f"several JSON values one after the other; {_jq('.', name)} reads them"
        raise JobError(f"{name} is no JSON document: {problem}") from None
    lists = {key: raw for key, raw in members.items() if bytes(raw).startswith(b"[")}
    tables = {key: raw for key, raw in lists.items() if bytes(raw)[1:].lstrip().startswith(b"{")} or lists
    if not tables:
        return [msgspec.Raw(text)]
    if len(tables) > 1:
        first = next(iter(tables))
        raise JobError(
            f"{name} has several lists: {', '.join(tables)}; {_jq(f'.{first}[]', name)} takes the rows of one"
        )
    return _LIST.decode(next(iter(tables.values())))


def _jq(expression: str, name: str) -> str:
    file = "FILE" if name == "-" else name
    source = f"zcat {file} | jq -c '{expression}'" if file.endswith(".gz") else f"jq -c '{expression}' {file}"
    return f"{source} | replicate-job batch … -"


def _numbered(rows: Sequence[msgspec.Raw]) -> tuple[range, Sequence[msgspec.Raw]]:
    return range(1, len(rows) + 1), rows


def _row(number: int, text: msgspec.Raw) -> Row:
    return row_of(number, bytes(text)) if len(memoryview(text)) <= ROW else Row(number, {}, TOO_LONG)
