"""Rows of a text file: an input a line, for the model's main one."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from replicate_job.batches.rows.lines import TOO_LONG, skip_line
from replicate_job.batches.rows.row import Header, Row
from replicate_job.batches.rows.source import reading
from replicate_job.wire.bounds import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

ONLY = "1"
"""The name of the one column, which is its place."""


class TextRows:
    """``regular`` is False for a pipe."""

    typed = False

    def __init__(self, file: str, *, regular: bool, encoding: str | None = None) -> None:
        self._file, self._regular, self._encoding = file, regular, encoding

    def header(self) -> Header:
        return Header(self._file, (ONLY,), is_whole=True, is_named=False)

    def __iter__(self) -> Iterator[Row]:
        with reading(self._file, self._encoding) as file:
            for number, line in enumerate(iter(partial(file.readline, ROW + 1), b""), 1):
                if len(line) > ROW:
                    skip_line(file, line)
                    yield Row(number, {}, TOO_LONG)
                elif line.strip():
                    yield _row(number, line.rstrip(b"\r\n"))

    def count(self, most: int | None = None) -> int | None:
        return sum(1 for _ in islice(self, most)) if self._regular else None

    def remarks(self) -> list[str]:
        return []


def _row(number: int, line: bytes) -> Row:
    try:
        return Row(number, {ONLY: line.decode()})
    except UnicodeDecodeError:
        return Row(number, {}, "not UTF-8 text (--encoding cp1252, or what it is, reads it)")
