"""Rows of a JSON file: an array of objects, an object with one list of objects, or JSON Lines."""

from __future__ import annotations

from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from replicate_job.batches.rows.lines import TOO_LONG, count_lines, json_row, problem_of, read_lines
from replicate_job.batches.rows.row import SAMPLE_ROWS, Header, Row, Rows, names_of
from replicate_job.batches.rows.source import SAMPLE, reading
from replicate_job.decoding import decoder
from replicate_job.errors import JobError
from replicate_job.wire.bounds import ROW

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence

LARGEST = 1024**3
"""The most bytes of a document, since a document is in memory as a whole."""
# A small compressed file must not become a large document. Each row takes some 80 bytes of memory before it is read.
_DECOMPRESSED = 64 * 1024**2  # the most bytes of a document that was compressed
_COMMAS = 1024**2  # the most commas of a document that was compressed

_LIST, _OBJECT = decoder(list[msgspec.Raw]), decoder(dict[str, msgspec.Raw])


class JSONRows(Rows):
    """Rows of a JSON document or of JSON Lines. ``regular`` is False for a pipe.

    The beginning of the file shows whether the file is a document or JSON Lines.
    With ``lines``, a file of one line with a whole object is JSON Lines, not a document.
    """

    typed = True

    def __init__(self, file: str, *, regular: bool, encoding: str | None = None, lines: bool) -> None:
        self._file, self._regular, self._encoding, self._lines = file, regular, encoding, lines

    def header(self) -> Header:
        return Header(self._file, names_of(islice(self, SAMPLE_ROWS)) if self._regular else None)

    def __iter__(self) -> Iterator[Row]:
        with reading(self._file, self._encoding) as file:
            if is_document(file, lines=self._lines):
                yield from map(_row, count(1), read_document(file, self._file, self._largest()))
            else:
                yield from read_lines(file, json_row)

    def count(self, limit: int | None = None) -> int | None:
        if not self._regular:
            return None
        with reading(self._file, self._encoding) as file:
            if is_document(file, lines=self._lines):
                number = len(read_document(file, self._file, self._largest()))
                return number if limit is None else min(number, limit)
            if limit is None:
                return count_lines(file)
            return sum(1 for _ in islice(read_lines(file, json_row), limit))

    def _largest(self) -> int:
        """The most bytes of a document that was not compressed: twice the file's size, since UTF-8 may be longer."""
        return min(LARGEST, 2 * Path(self._file).stat().st_size) if self._regular else LARGEST


def is_document(file: io.BufferedReader, *, lines: bool) -> bool:
    """Whether the file is a document rather than JSON Lines. The file's position does not move."""
    text = file.peek(SAMPLE).lstrip()
    first, _, rest = (part.strip() for part in text.partition(b"\n"))
    if rest and _is_json(first):
        return False
    if lines and not text.startswith(b"["):
        return first == b"{" and rest.startswith(b'"')  # an object on several lines
    return bool(text)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def read_document(file: BinaryIO, name: str, largest: int = LARGEST) -> Sequence[msgspec.Raw]:
    """The rows, each as undecoded JSON. Raises JobError for a document that is too large, or has several lists.

    A document of more than ``largest`` bytes was compressed, so the limits for compressed documents apply to it.
    """
    text = file.read(max(largest, _DECOMPRESSED) + 1)
    if len(text) > max(largest, _DECOMPRESSED) or (len(text) > largest and text.count(b",") > _COMMAS):
        raise JobError(f"{name} is too large to be read as a whole: {_jq('.[]', name)} reads it row by row")
    try:
        if text.lstrip().startswith(b"["):
            return _LIST.decode(text)
        members = _OBJECT.decode(text)
    except (ValueError, RecursionError) as error:
        problem = problem_of(text, error)
        if "trailing" in problem:
            problem = f"several JSON values one after the other; {_jq('.', name)} reads them"
        raise JobError(f"{name} is not a JSON document: {problem}") from None
    lists = {key: raw for key, raw in members.items() if bytes(raw).startswith(b"[")}
    # Lists of objects are preferred: an object with rows often has lists of names or numbers too.
    tables = {key: raw for key, raw in lists.items() if bytes(raw)[1:].lstrip().startswith(b"{")} or lists
    if not tables:
        return [msgspec.Raw(text)]  # an object without lists is a row
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


def _row(number: int, text: msgspec.Raw) -> Row:
    return json_row(number, bytes(text)) if len(memoryview(text)) <= ROW else Row(number, {}, TOO_LONG)
