"""Rows of a JSON document: an array of objects, or an object with one list of them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from replicate_job.batches.rows.lines import LineRows, problem_of, read_lines
from replicate_job.batches.rows.row import HEAD, Header, Row, names_of
from replicate_job.batches.rows.source import SAMPLE, reading
from replicate_job.errors import JobError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence

LARGEST = 1024**3
"""Bytes of a document, which is in memory as a whole."""

_ROW = msgspec.json.Decoder(dict[str, Any])
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
                yield from map(_row, *_numbered(read_document(file, self._file)))
            else:
                yield from read_lines(file)

    def count(self, most: int | None = None) -> int | None:
        if not self._regular:
            return None
        with reading(self._file, self._encoding) as file:
            if is_document(file, lines=self._lines):
                number = len(read_document(file, self._file))
                return number if most is None else min(number, most)
        return self._by_line.count(most)

    def remarks(self) -> list[str]:
        return []


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


def read_document(file: BinaryIO, name: str) -> Sequence[msgspec.Raw]:
    """The rows, each as it is written. Raises JobError where there is no list that is meant."""
    text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
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
    return f"jq -c '{expression}' {'FILE' if name == '-' else name} | replicate-job batch … -"


def _numbered(rows: Sequence[msgspec.Raw]) -> tuple[range, Sequence[msgspec.Raw]]:
    return range(1, len(rows) + 1), rows


def _row(number: int, text: msgspec.Raw) -> Row:
    try:
        return Row(number, _ROW.decode(text))
    except (ValueError, RecursionError) as error:
        return Row(number, {}, problem_of(bytes(text), error))
