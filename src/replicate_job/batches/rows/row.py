"""A row of a batch's input, and the protocol that every format of rows implements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicate_job.batches.rows.point import Point

SAMPLE_ROWS = 100
"""The number of rows that are read to find the columns of a file without a header."""


class Row(msgspec.Struct, frozen=True):
    """A row as it is in the file, unconverted.

    ``line`` is the line in which the row starts, from 1; blank lines and the header of a CSV count. In Parquet, Arrow
    and a JSON array, ``line`` is the row's number. ``values`` are text in a CSV, else JSON values. ``problem`` is the
    reason, in one line, why the row cannot be read; ``values`` is empty then. ``point`` is the row's combination of a
    grid.
    """

    line: int
    values: dict[str, Any]
    problem: str = ""
    point: Point | None = None


class Header(msgspec.Struct, frozen=True):
    """The columns that are known before the first row is read.

    ``names`` is None if the names are read later, from the first row. ``is_whole``: no row has a column that is not in
    ``names``. ``is_named`` is False if the names are the columns' numbers, from ``1``. ``separator`` is the separator's
    name in messages; empty if the format has no separator.
    """

    source: str
    names: Sequence[str] | None = None
    is_whole: bool = False
    is_named: bool = True
    separator: str = ""


class Rows(Protocol):
    """The rows of a file. ``typed`` is False if values are text, whose types come from the model's schema."""

    typed: bool

    def header(self) -> Header:
        """The columns. Raises JobError if reading fails, and for a header that does not name its columns."""

    def __iter__(self) -> Iterator[Row]:
        """Read every row from the beginning of the file. A pipe can be read only one time.

        A row that cannot be read has a ``problem``, and the rows after it follow. Raises JobError if reading fails.
        """

    def count(self, limit: int | None = None) -> int | None:
        """The number of rows that an iteration yields, counted up to ``limit``; None for a pipe.

        Raises JobError if reading fails.
        """

    def remarks(self) -> list[str]:
        """Warnings for the user about doubtful rows of the last iteration, one line each."""
        return []


def names_of(rows: Iterator[Row]) -> list[str]:
    """The names in the first row, and the names that at least two other rows have.

    A name in only one later row counts as a mistake in that row, not as a column.
    """
    counts: dict[str, int] = {}
    first: set[str] = set()
    for row in rows:
        names = [name for name, value in row.values.items() if value is not None]
        first = first or set(names)
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return [name for name, number in counts.items() if number > 1 or name in first]
