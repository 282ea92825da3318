"""Rows of a table of text: CSV (RFC 4180), TSV and their variants. Every cell is text."""

from __future__ import annotations

import csv
import re
from collections import deque
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain, islice
from typing import TYPE_CHECKING, TextIO

import msgspec

from replicate_job.batches.rows.columns import check_unique
from replicate_job.batches.rows.dialect import Dialect, parse_separator, recognise
from replicate_job.batches.rows.row import SAMPLE_ROWS, Header, Row, Rows
from replicate_job.batches.rows.source import SAMPLE, reading
from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicate_job.batches.rows.options import ReadOptions

LONGEST = 16 * 1024**2
"""The most characters of a row."""
_LINE = 64  # bytes of memory for a line besides its characters
_EXCEL = re.compile(r"sep=(.)\r?\n")  # a first line that names the separator for Excel


class _TooLongError(Exception):
    """The row has more characters than ``LONGEST``."""


class _TableRow(msgspec.Struct, frozen=True, gc=False):
    """The cells of the row that starts in ``line``, or the row's problem."""

    line: int
    cells: list[str]
    problem: str = ""


class _TableHeader(msgspec.Struct, frozen=True):
    """The header of a table. ``names`` are the names of all columns.

    The columns in ``nameless`` have no name in the file, and are named by their numbers. ``drops_nameless``: the user
    gave the names, and columns without a name are left out.
    """

    names: Sequence[str]
    nameless: tuple[str, ...] = ()
    drops_nameless: bool = False

    @property
    def least(self) -> int:
        """The fewest cells of a row. Columns without a name at the end of a row may be missing."""
        return max((number for number, name in enumerate(self.names, 1) if name not in self.nameless), default=0)


class DelimitedRows(Rows):
    """Rows of a table. ``usual`` is the separator if none is given or detected; ``regular`` is False for a pipe.

    A column without a name is named by its number, from ``1``. A row has this column only if the row's cell has text.
    Raises JobError for a header that cannot be read, or with two columns of one name.
    """

    typed = False

    def __init__(self, file: str, usual: str, options: ReadOptions, *, regular: bool) -> None:
        self._file, self._usual, self._options, self._regular = file, usual, options, regular
        self._separator = None if options.delimiter is None else parse_separator(options.delimiter)
        self._doubts = _QuoteDoubts()
        if regular:
            with self._opened():
                pass

    def header(self) -> Header:
        is_named = self._options.header is not False
        if not self._regular:
            return Header(self._file, is_named=is_named)
        with self._opened() as (header, _, dialect):
            names = [name for name in header.names if name not in header.nameless]
            used = {name for row in islice(self, SAMPLE_ROWS) for name in row.values} if header.nameless else set()
            names += [name for name in header.nameless if name in used]
            return Header(self._file, names, True, is_named, dialect.words)

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (header, table, dialect):
            names, nameless, width = header.names, header.nameless, len(header.names)
            for row in table:
                if row.problem:
                    yield Row(row.line, {}, row.problem)
                elif len(row.cells) != width:
                    yield Row(row.line, {}, _uneven(row.cells, width, dialect))
                else:
                    values = dict(zip(names, row.cells, strict=True))
                    for name in nameless:
                        if header.drops_nameless or not values[name].strip():
                            del values[name]
                    yield Row(row.line, values)

    def count(self, limit: int | None = None) -> int | None:
        if not self._regular:
            return None
        with self._opened() as (_, table, _):
            return sum(1 for _ in islice(table, limit))

    def remarks(self) -> list[str]:
        return self._doubts.remarks(self._file)

    @contextmanager
    def _opened(self) -> Iterator[tuple[_TableHeader, Iterator[_TableRow], Dialect]]:
        """The header, and the rows after it."""
        self._doubts = _QuoteDoubts()
        with reading(self._file, self._options.encoding) as opened:
            sample = opened.peek(SAMPLE).decode(errors="replace")
            # If quotes are text, a separator between two quotes still separates cells: hide quotes from the csv module.
            dialect = self._recognise(sample if self._options.quotes else sample.replace('"', "'"))
            with TextIOWrapper(opened, encoding="utf-8", errors="surrogateescape", newline="") as text:
                lines = _Lines(text)
                if _EXCEL.match(sample):
                    next(lines)
                reader = _TableReader(lines, dialect, self._doubts)
                table = iter(reader)
                header, first_rows = self._read_header(table)
                # The number of cells in a row is known now.
                reader.width, reader.least = len(header.names), header.least
                yield header, chain(first_rows, table), dialect

    def _recognise(self, sample: str) -> Dialect:
        if self._separator is not None:
            return Dialect(self._separator, quotes=self._options.quotes)
        if named := _EXCEL.match(sample):
            return Dialect(named[1], quotes=self._options.quotes)
        whole_lines = sample[: sample.rfind("\n") + 1] or sample  # the sample may end inside a line
        return Dialect(recognise(whole_lines, self._usual), quotes=self._options.quotes)

    def _read_header(self, table: Iterator[_TableRow]) -> tuple[_TableHeader, list[_TableRow]]:
        """The header, and the rows that were read to find it.

        In a file without a header, the first row is read to count the columns. Otherwise the list is empty.
        """
        if isinstance(self._options.header, tuple):
            return msgspec.structs.replace(_named(self._file, self._options.header), drops_nameless=True), []
        first = next(table, None)
        if first is None and self._options.header is False:
            return _TableHeader(()), []
        if first is None:
            raise JobError(f"{self._file} has no header; its first line names the columns after inputs of the model")
        if first.problem:
            raise JobError(f"{self._file}: line {first.line}: {first.problem}")
        if self._options.header is False:
            return _TableHeader([str(number) for number in range(1, len(first.cells) + 1)]), [first]
        return _named(self._file, first.cells), []


def _named(file: str, cells: Sequence[str]) -> _TableHeader:
    stripped = [cell.strip() for cell in cells]
    names = [name or str(number) for number, name in enumerate(stripped, 1)]
    check_unique(file, names)
    return _TableHeader(names, tuple(name for name, text in zip(names, stripped, strict=True) if not text))


def _uneven(cells: Sequence[str], width: int, dialect: Dialect) -> str:
    problem = f"{len(cells)} cells, and the header has {width}"
    if not dialect.words:
        return problem
    hint = f"cells are separated by {dialect.words}; --delimiter names another separator, and text with it is quoted"
    return f"{problem} ({hint})"


class _QuoteDoubts:
    """Counts the rows whose quotes may have been misread.

    ``literal`` counts rows in which a quote was read as text, ``long`` rows in which a quoted cell spans several lines.
    Each counter is a list of two numbers: the number of rows, and the first row's line.
    """

    def __init__(self) -> None:
        self.literal: list[int] = [0, 0]
        self.long: list[int] = [0, 0]

    def remarks(self, file: str) -> list[str]:
        lines = []
        for (number, first), remark in (
            (self.literal, "a quote is text, as it closes no cell; --no-quotes reads every quote so"),
            (self.long, "a quoted cell spans lines that look like rows; if they are rows, --no-quotes reads them"),
        ):
            if number:
                rows = "1 row" if number == 1 else f"{number:,} rows"
                lines.append(f"{file}: in {rows} (the first in line {first}) {remark}")
        return lines

    @staticmethod
    def add(doubt: list[int], line: int) -> None:
        doubt[0] += 1
        doubt[1] = doubt[1] or line


class _Lines:
    """The physical lines of a text. The lines of a row can be read again after ``csv.reader`` has read them.

    ``number`` is the number of the last line read, from 1. ``row`` has the lines of the current row, and ``fault`` is
    the problem of these lines' characters.
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

    def rewind(self) -> None:
        """Go back to the second line of the current row."""
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
        self.fault = self.fault or _fault_of(line)
        return line

    def _read(self) -> str:
        """The next line, or only the beginning of a line that is too long."""
        line = rest = self._text.readline(LONGEST + 1)
        while len(rest) > LONGEST:
            rest = self._text.readline(LONGEST + 1)
        return line


def _fault_of(line: str) -> str:
    """The problem of the line's characters; empty if there is none."""
    if "\0" in line:
        return "a NUL character"
    if line.isascii() or _is_utf8(line):
        return ""
    return "not UTF-8 text (save it as CSV UTF-8, or give its --encoding, as cp1252)"


def _is_utf8(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:  # surrogateescape turned a byte that is not UTF-8 into a lone surrogate
        return False
    return True


class _TableReader:
    """Reads every row that has text. A broken row is returned with its ``problem``, and the rows after it are read.

    ``width`` is the number of cells of a row, None until the header is read; ``least`` is that number without the
    nameless columns at the end. A cell with a wrong quote ends with its first line, and the other lines are read again.
    """

    def __init__(self, lines: _Lines, dialect: Dialect, doubts: _QuoteDoubts) -> None:
        self._lines, self._dialect, self._doubts = lines, dialect, doubts
        self.width: int | None = None
        self.least = 0
        # The csv module's limit on a cell is global. Raise that limit here; ``_Lines`` enforces our own.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST))

    def __iter__(self) -> Iterator[_TableRow]:
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
                problem = f"longer than {LONGEST // 1024**2} million characters; a quote may not be closed"
                yield self._broken(start, problem)
            except csv.Error:
                yield self._broken(start, _quote_problem(start, lines))
            else:
                if lines.fault or (cells and (cells[0].strip() or any(map(str.strip, cells)))):
                    yield self._whole(start, cells)

    def _whole(self, start: int, cells: list[str]) -> _TableRow:
        """The row that the csv module read, or only its first line if an unclosed quote seems to join several rows."""
        lines, width = self._lines, self.width
        if width is None:
            return _TableRow(start, cells, lines.fault)
        # Spreadsheets add blank cells at the end of some rows, and leave them out of other rows.
        if len(cells) > width and not any(map(str.strip, cells[width:])):
            cells = cells[:width]
        elif self.least <= len(cells) < width:
            cells += [""] * (width - len(cells))
        if lines.number > start:
            if len(cells) != width:
                hint = f" (a quoted cell goes on to line {lines.number}; the lines in between are read as rows)"
                return self._broken(start, _uneven(cells, width, self._dialect) + hint)
            if width > 1 and all(len(self._dialect.split(line)) == width for line in lines.row):
                # Each line could be a row. If quotes are seldom used, rows are likelier than a cell of several lines.
                if self._dialect.is_seldom_quoted:
                    return self._broken(start, "")
                self._doubts.add(self._doubts.long, start)
        return _TableRow(start, cells, lines.fault)

    def _broken(self, start: int, problem: str) -> _TableRow:
        """The row's first line, as a broken row; the other lines are read again.

        The line is a good row under two conditions. First, with quotes as text, it has the right number of cells.
        Second, tables with this separator seldom have quotes, or the quote is closed in this line.
        """
        lines = self._lines
        ran_over, ended = lines.number > start, lines.ended
        lines.rewind()
        (line,) = lines.row
        fault = _fault_of(line)
        cells = self._dialect.split(line) if len(line) <= LONGEST else []
        if len(cells) == self.width and (self._dialect.is_seldom_quoted or not (ran_over or ended)):
            self._doubts.add(self._doubts.literal, start)
            return _TableRow(start, cells, fault)
        return _TableRow(start, [], fault or problem)


def _quote_problem(start: int, lines: _Lines) -> str:
    if lines.ended:
        return "a quote that opens a cell here is never closed (--no-quotes reads quotes as text)"
    where = f" in line {lines.number}, to which the cell goes on" if lines.number > start else ""
    return f"text after a closing quote{where} (a quote inside a quoted cell is written twice; --no-quotes reads all)"
