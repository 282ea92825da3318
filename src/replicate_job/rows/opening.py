"""Opening a file of rows, and what each of its readers holds to."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK = 1024**2
"""Bytes that are read at once where no line is looked for."""


@contextmanager
def reading(file: str) -> Iterator[BinaryIO]:
    """The file, or stdin for ``-``, as bytes. Raises JobError for every OSError until it is closed."""
    try:
        if file == "-":
            yield sys.stdin.buffer
        else:
            with Path(file).open("rb") as opened:
                yield opened
    except OSError as error:
        raise JobError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None


def check_columns(file: str, columns: Sequence[str]) -> None:
    """Raise JobError unless every column has a name, and one of its own."""
    if not columns:
        raise JobError(f"{file} has no columns; each is named after an input of the model")
    if "" in columns:
        raise JobError(f"{file}: column {columns.index('') + 1} has no name; name it after an input of the model")
    doubled = next((name for name in columns if columns.count(name) > 1), None)
    if doubled is not None:
        raise JobError(f"{file}: two columns are named {doubled!r}")
