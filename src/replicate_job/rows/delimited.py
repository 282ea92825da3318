"""Rows of a CSV or TSV file (RFC 4180): the first names the columns, every cell is text."""

from __future__ import annotations

import csv
from collections import deque
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

import msgspec

from replicate_job.errors import JobError
from replicate_job.rows.opening import check_columns, reading
from replicate_job.rows.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 16 * 1024**2
"""Characters of a row."""


class _TooLongError(Exception):
    """The row has more characters than ``LONGEST``."""


class _Record(msgspec.Struct, frozen=True, gc=False):
    """The cells of a row that starts in ``line``, or the problem that they have."""

    line: int
    cells: list[str]
    problem: str = ""


class DelimitedRows:
    """``regular`` is False for a pipe. Raises JobError for a header that names no columns, or names them badly."""

    typed = False

    def __init__(self, file: str, delimiter: str, *, regular: bool) -> None:
        self._file, self._delimiter, self._regular = file, delimiter, regular
        if regular:
            with self._opened():
                pass

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (columns, records):
            for record in records:
                if record.problem:
                    yield Row(record.line, {}, record.problem)
                elif len(record.cells) != len(columns):
                    yield Row(record.line, {}, f"{len(record.cells)} cells, and the header has {len(columns)}")
                else:
                    yield Row(record.line, dict(zip(columns, record.cells, strict=True)))

    def count(self) -> int | None:
        if not self._regular:
            return None
        with self._opened() as (_, records):
            return sum(1 for _ in records)

    @contextmanager
    def _opened(self) -> Iterator[tuple[list[str], Iterator[_Record]]]:
        """The columns, and what follows their line."""
        with (
            reading(self._file) as opened,
            TextIOWrapper(opened, encoding="utf-8-sig", errors="surrogateescape", newline="") as text,
        ):
            records = _records(_Lines(text), self._delimiter)
            yield self._header(records), records

    def _header(self, records: Iterator[_Record]) -> list[str]:
        header = next(records, None)
        if header is None:
            raise JobError(f"{self._file} has no header; its first line names the columns after inputs of the model")
        if header.problem:
            raise JobError(f"{self._file}: line {header.line}: {header.problem}")
        check_columns(self._file, header.cells)
        return header.cells


class _Lines:
    """The physical lines of a text, for a reader that takes as many as a row has; they can be given again.

    ``number`` is the line given last, from 1. ``fault`` says what is wrong with the characters of the row.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self._size = 0
        self.number = 0
        self.fault = ""
        self.ended = False

    def begin_row(self) -> int:
        """The number of the line in which the next row starts."""
        self._row.clear()
        self._size, self.fault = 0, ""
        return self.number + 1

    def give_again(self) -> None:
        """Give the lines of this row once more, but the first."""
        self._again.extendleft(reversed(self._row[1:]))
        self.number -= len(self._row) - 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        self.ended = not line
        if self.ended:
            raise StopIteration
        self.number += 1
        self._row.append(line)
        self._size += len(line)
        if self._size > LONGEST:
            raise _TooLongError
        if "\0" in line:
            self.fault = "a NUL character"
        elif not line.isascii() and not _is_utf8(line):
            self.fault = "not UTF-8 text"
        return line

    def _read(self) -> str:
        """A line; of one that is too long, its beginning."""
        line = rest = self._text.readline(LONGEST + 1)
        while len(rest) > LONGEST:
            rest = self._text.readline(LONGEST + 1)
        return line


def _records(lines: _Lines, delimiter: str) -> Iterator[_Record]:
    """Every row in which a cell says something. A row that is broken has its problem, and the others follow.

    Where a quote is never closed, the row ends with its first line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # of the process; the lines hold to it themselves
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLongError:
            yield _Record(start, [], f"longer than {LONGEST // 1024**2} million characters; a quote may not be closed")
            lines.give_again()
        except csv.Error:
            yield _Record(start, [], _quoting(start, lines))
            if lines.ended:
                lines.give_again()
        else:
            if lines.fault or any(cells):
                yield _Record(start, cells, lines.fault)


def _quoting(start: int, lines: _Lines) -> str:
    if lines.ended:
        return "a quote that opens a cell here is never closed"
    where = f" in line {lines.number}, to which the cell goes on" if lines.number > start else ""
    return f"text after a closing quote{where} (a quote inside a quoted cell is written twice)"


def _is_utf8(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:  # a byte that is no UTF-8 became half of a surrogate pair
        return False
    return True
