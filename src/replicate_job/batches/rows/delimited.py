"""Rows of a table of text: CSV (RFC 4180), TSV, and what is near them. Every cell is text."""

from __future__ import annotations

import csv
import re
from collections import deque
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain, islice
from typing import TYPE_CHECKING, TextIO

import msgspec

from replicate_job.batches.rows.columns import check_doubles
from replicate_job.batches.rows.dialect import Dialect, parse_separator, recognise
from replicate_job.batches.rows.row import HEAD, Header, Row
from replicate_job.batches.rows.source import SAMPLE, reading
from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicate_job.batches.rows.options import ReadOptions

LONGEST = 16 * 1024**2
"""Characters of a row."""
_LINE = 64  # what a line takes in memory besides its characters
_EXCEL = re.compile(r"sep=(.)\r?\n")  # a first line by which Excel knows what divides the cells


class _TooLongError(Exception):
    """The row has more characters than ``LONGEST``."""


class _Record(msgspec.Struct, frozen=True, gc=False):
    """The cells of a row that starts in ``line``, or the problem that they have."""

    line: int
    cells: list[str]
    problem: str = ""


class _Columns(msgspec.Struct, frozen=True):
    """``names`` of all columns; the ``nameless`` have only their place for one. ``is_told``: these are left out."""

    names: Sequence[str]
    nameless: tuple[str, ...] = ()
    is_told: bool = False

    @property
    def least(self) -> int:
        """The place of the last column that has a name."""
        return max((place for place, name in enumerate(self.names, 1) if name not in self.nameless), default=0)


class DelimitedRows:
    """``usual`` divides the cells where nothing else is told or recognised; ``regular`` is False for a pipe.

    A column without a name is named by its place, from ``1``, and is there only where it has text. Raises JobError for
    a header that names two columns alike, or cannot be read.
    """

    typed = False

    def __init__(self, file: str, usual: str, how: ReadOptions, *, regular: bool) -> None:
        self._file, self._usual, self._how, self._regular = file, usual, how, regular
        self._separator = None if how.delimiter is None else parse_separator(how.delimiter)
        self._lines: _Lines | None = None
        self._doubts = _Doubts()
        if regular:
            with self._opened():
                pass

    def header(self) -> Header:
        how = self._how
        if not self._regular:
            return Header(self._file, is_named=how.header is not False)
        with self._opened() as (columns, _, dialect):
            names = [name for name in columns.names if name not in columns.nameless]
            told = {name for row in islice(self, HEAD) for name in row.values} if columns.nameless else set()
            names += [name for name in columns.nameless if name in told]
            return Header(self._file, names, True, how.header is not False, dialect.words)

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (columns, records, dialect):
            names, nameless, width = columns.names, columns.nameless, len(columns.names)
            for record in records:
                if record.problem:
                    yield Row(record.line, {}, record.problem)
                elif len(record.cells) != width:
                    yield Row(record.line, {}, _uneven(record.cells, width, dialect))
                else:
                    values = dict(zip(names, record.cells, strict=True))
                    for name in nameless:
                        if columns.is_told or not values[name].strip():
                            del values[name]
                    yield Row(record.line, values)

    def count(self, most: int | None = None) -> int | None:
        if not self._regular:
            return None
        with self._opened() as (_, records, _):
            return sum(1 for _ in islice(records, most))

    def remarks(self) -> list[str]:
        return self._doubts.lines(self._file)

    @contextmanager
    def _opened(self) -> Iterator[tuple[_Columns, Iterator[_Record], Dialect]]:
        """The columns, and what follows their line."""
        self._doubts = _Doubts()
        with reading(self._file, self._how.encoding) as opened:
            sample = opened.peek(SAMPLE).decode(errors="replace")
            dialect = self._recognise(sample if self._how.quotes else sample.replace('"', "'"))
            with TextIOWrapper(opened, encoding="utf-8", errors="surrogateescape", newline="") as text:
                lines = _Lines(text)
                if _EXCEL.match(sample):
                    next(lines)
                records = _Records(lines, dialect, self._doubts)
                found = iter(records)
                columns, first = self._columns(found)
                records.width, records.least = len(columns.names), columns.least
                yield columns, chain(first, found), dialect

    def _recognise(self, sample: str) -> Dialect:
        if self._separator is not None:
            return Dialect(self._separator, quotes=self._how.quotes)
        if told := _EXCEL.match(sample):
            return Dialect(told[1], quotes=self._how.quotes)
        whole = sample[: sample.rfind("\n") + 1] or sample  # what was read may end within a line
        return Dialect(recognise(whole, self._usual), quotes=self._how.quotes)

    def _columns(self, records: Iterator[_Record]) -> tuple[_Columns, list[_Record]]:
        """The columns, and the record that was taken to know them where it is a row."""
        if isinstance(self._how.header, tuple):
            return msgspec.structs.replace(_named(self._file, self._how.header), is_told=True), []
        first = next(records, None)
        if first is None and self._how.header is False:
            return _Columns(()), []
        if first is None:
            raise JobError(f"{self._file} has no header; its first line names the columns after inputs of the model")
        if first.problem:
            raise JobError(f"{self._file}: line {first.line}: {first.problem}")
        if self._how.header is False:
            return _Columns([str(place) for place in range(1, len(first.cells) + 1)]), [first]
        return _named(self._file, first.cells), []


def _named(file: str, header: Sequence[str]) -> _Columns:
    given = [name.strip() for name in header]
    names = [name or str(place) for place, name in enumerate(given, 1)]
    check_doubles(file, names)
    return _Columns(names, tuple(name for name, text in zip(names, given, strict=True) if not text))


def _uneven(cells: Sequence[str], width: int, dialect: Dialect) -> str:
    said = f"{len(cells)} cells, and the header has {width}"
    if not dialect.words:
        return said
    return f"{said} (cells are divided by {dialect.words}; --delimiter names another, and text that has one is quoted)"


class _Doubts:
    """Rows in which a quote may mean something else than it was read as."""

    def __init__(self) -> None:
        self.literal: list[int] = [0, 0]
        self.long: list[int] = [0, 0]

    def lines(self, file: str) -> list[str]:
        found = []
        for (many, first), said in (
            (self.literal, "a quote is text, as it closes no cell; --no-quotes reads every quote so"),
            (self.long, "a quoted cell goes over lines that look like rows; if they are, --no-quotes reads them"),
        ):
            if many:
                rows = "1 row" if many == 1 else f"{many:,} rows"
                found.append(f"{file}: in {rows} (the first in line {first}) {said}")
        return found

    @staticmethod
    def note(doubt: list[int], line: int) -> None:
        doubt[0] += 1
        doubt[1] = doubt[1] or line


class _Lines:
    """The physical lines of a text, for a reader that takes as many as a row has; they can be given again.

    ``number`` is the line given last, from 1. ``row`` are those of this row, and ``fault`` says what is wrong with
    their characters.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._size = 0
        self.row: list[str] = []
        self.number = 0
        self.fault = ""
        self.ended = False

    def begin_row(self) -> int:
        """The number of the line in which the next row starts."""
        self.row.clear()
        self._size, self.fault = 0, ""
        return self.number + 1

    def give_again(self) -> None:
        """Give the lines of this row once more, but the first."""
        self._again.extendleft(reversed(self.row[1:]))
        self.number -= len(self.row) - 1
        del self.row[1:]

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        self.ended = not line
        if self.ended:
            raise StopIteration
        self.number += 1
        self.row.append(line)
        self._size += len(line) + _LINE
        if self._size > LONGEST:
            raise _TooLongError
        self.fault = self.fault or fault_of(line)
        return line

    def _read(self) -> str:
        """A line; of one that is too long, its beginning."""
        line = rest = self._text.readline(LONGEST + 1)
        while len(rest) > LONGEST:
            rest = self._text.readline(LONGEST + 1)
        return line


def fault_of(line: str) -> str:
    """What is wrong with the line's characters; empty where nothing is."""
    if "\0" in line:
        return "a NUL character"
    if line.isascii() or _is_utf8(line):
        return ""
    return "not UTF-8 text (save it as CSV UTF-8, or give its --encoding, as cp1252)"


def _is_utf8(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:  # a byte that is no UTF-8 became half of a surrogate pair
        return False
    return True


class _Records:
    """Every row in which a cell says something. A row that is broken has its problem, and the others follow.

    ``width`` is how many cells a row has, None until that is known; ``least``, without columns at the end that have no
    name. A quote that is not what it seems ends with its
    line: what it ran over is read again.
    """

    def __init__(self, lines: _Lines, dialect: Dialect, doubts: _Doubts) -> None:
        self._lines, self._dialect, self._doubts = lines, dialect, doubts
        self.width: int | None = None
        self.least = 0
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # of the process; the lines hold to it themselves

    def __iter__(self) -> Iterator[_Record]:
        lines, dialect = self._lines, self._dialect
        quote = '"' if dialect.quotes else None
        reader = csv.reader(lines, delimiter=dialect.separator, quotechar=quote, strict=True)
        while True:
            start = lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _TooLongError:
                said = f"longer than {LONGEST // 1024**2} million characters; a quote may not be closed"
                yield self._broken(start, said)
            except csv.Error:
                yield self._broken(start, _quoting(start, lines))
            else:
                if lines.fault or (cells and (cells[0].strip() or any(map(str.strip, cells)))):
                    yield self._whole(start, cells)

    def _whole(self, start: int, cells: list[str]) -> _Record:
        """A row that has been read, unless its quotes say that it is none."""
        lines, width = self._lines, self.width
        if width is None:
            return _Record(start, cells, lines.fault)
        if len(cells) > width and not any(map(str.strip, cells[width:])):
            cells = cells[:width]
        elif self.least <= len(cells) < width:
            cells += [""] * (width - len(cells))
        if lines.number > start:
            if len(cells) != width:
                ran = f" (a quoted cell goes on to line {lines.number}; what it ran over is read anew)"
                return self._broken(start, _uneven(cells, width, self._dialect) + ran)
            if width > 1 and all(len(self._dialect.split(line)) == width for line in lines.row):
                if self._dialect.is_plain:
                    return self._broken(start, "")
                self._doubts.note(self._doubts.long, start)
        return _Record(start, cells, lines.fault)

    def _broken(self, start: int, problem: str) -> _Record:
        """The first line of this row; the others are given again.

        Where quotes are seldom used, or all of it is in one line, a quote may be text.
        """
        lines = self._lines
        ran_over, ended = lines.number > start, lines.ended
        lines.give_again()
        (line,) = lines.row
        fault = fault_of(line)
        cells = self._dialect.split(line) if len(line) <= LONGEST else []
        if len(cells) == self.width and (self._dialect.is_plain or not (ran_over or ended)):
            self._doubts.note(self._doubts.literal, start)
            return _Record(start, cells, fault)
        return _Record(start, [], fault or problem)


def _quoting(start: int, lines: _Lines) -> str:
    if lines.ended:
        return "a quote that opens a cell here is never closed (--no-quotes reads quotes as text)"
    where = f" in line {lines.number}, to which the cell goes on" if lines.number > start else ""
    return f"text after a closing quote{where} (a quote inside a quoted cell is written twice; --no-quotes reads all)"
