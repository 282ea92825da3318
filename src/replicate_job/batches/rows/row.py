"""One row of a batch's input, and what every format of them offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = 100
"""Rows that are looked at to learn the columns of a file without a header."""


class Row(msgspec.Struct, frozen=True):
    """A row as it stands in its file.

    ``line`` is where it starts, from 1; blank lines count too, and so does the header of a CSV. In Parquet, Arrow and
    a JSON array it is the row's number. ``values`` are text in a CSV, else JSON values. ``problem`` says why the row
    cannot be read, in one line; ``values`` is empty then.
    """

    line: int
    values: dict[str, Any]
    problem: str = ""


class Header(msgspec.Struct, frozen=True):
    """What is known of the columns before any row is taken.

    ``names`` is None where the first row will tell. ``is_whole``: no row has another. ``is_named`` is False where names
    are places, from ``1``. ``separator`` is what divides the cells, in words for people; empty where nothing does.
    """

    source: str
    names: Sequence[str] | None = None
    is_whole: bool = False
    is_named: bool = True
    separator: str = ""


class Rows(Protocol):
    """``typed`` is False where values are text that takes its type from the model's schema."""

    typed: bool

    def header(self) -> Header:
        """Raises JobError where reading fails, and for a header that names no columns well."""

    def __iter__(self) -> Iterator[Row]:
        """Every row, read anew from the file; a pipe can be read once only.

        A row that cannot be read has its ``problem``, and the others follow. Raises JobError where reading fails.
        """

    def count(self, most: int | None = None) -> int | None:
        """The number of rows that an iteration gives, counted up to ``most``; None for a pipe.

        Raises JobError where reading fails.
        """

    def remarks(self) -> list[str]:
        """What a person should know of how the rows were read in the last iteration, a line each."""


def names_of(rows: Iterator[Row]) -> list[str]:
    """The names of the first row, and those that several of the first rows have.

    A name that one row alone has further down is that row's mistake, and no column.
    """
    counts: dict[str, int] = {}
    first: set[str] = set()
    for row in rows:
        given = [name for name, value in row.values.items() if value is not None]
        first = first or set(given)
        for name in given:
            counts[name] = counts.get(name, 0) + 1
    return [name for name, number in counts.items() if number > 1 or name in first]
