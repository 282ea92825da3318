"""One row of a batch's input, and what every format of them offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Row(msgspec.Struct, frozen=True):
    """A row as it stands in its file.

    ``line`` is where it starts, from 1; blank lines count too, and so does the header of a CSV. In Parquet it is the
    row's number. ``values`` are text in a CSV, else JSON values. ``problem`` says why the row cannot be read, in one
    line; ``values`` is empty then.
    """

    line: int
    values: dict[str, Any]
    problem: str = ""


class Rows(Protocol):
    """``typed`` is False where values are text that takes its type from the model's schema."""

    typed: bool

    def __iter__(self) -> Iterator[Row]:
        """Every row, read anew from the file; a pipe can be read once only.

        A row that cannot be read has its ``problem``, and the others follow. Raises JobError where reading fails.
        """

    def count(self) -> int | None:
        """The number of rows that an iteration gives; None for a pipe. Raises JobError where reading fails."""
