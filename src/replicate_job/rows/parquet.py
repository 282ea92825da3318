"""Rows of a Parquet file, as JSON values."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from replicate_job.errors import JobError
from replicate_job.rows.columns import check_doubles
from replicate_job.rows.row import Header, Row
from replicate_job.rows.source import BINARY, BLOCK, reading
from replicate_job.rows.tables import BATCH, BROKEN, NESTED, is_binary, line_of, rows_of, too_large
from replicate_job.wire.bounds import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow import parquet

_DECODED = 16 * 1024**2  # bytes that are decoded at once, where rows are of a size; each may hold a picture


class ParquetRows:
    """``regular`` must be True: the description of a Parquet file is at its end, which a pipe has not yet.

    For values see ``plain_values``. Raises JobError for a file that is damaged, or whose columns have no names of their
    own.
    """

    typed = True

    def __init__(self, file: str, *, regular: bool) -> None:
        if not regular:
            raise JobError(f"{file}: Parquet cannot be read from a pipe; save it as a file first")
        self._file = file
        self.count()

    def header(self) -> Header:
        with self._opened() as (opened, _):
            return Header(self._file, opened.schema_arrow.names, is_whole=True)

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (opened, counts):
            first = 1
            for group, count in enumerate(counts):
                rows = chain(_read(opened, group), repeat(({}, "the file is damaged here")))
                for line, (values, problem) in enumerate(islice(rows, count), first):
                    yield Row(line, values, problem)
                first += count

    def count(self, most: int | None = None) -> int | None:
        with self._opened() as (_, counts):
            return sum(counts) if most is None else min(most, sum(counts))

    def remarks(self) -> list[str]:
        return []

    @contextmanager
    def _opened(self) -> Iterator[tuple[parquet.ParquetFile, list[int]]]:
        """The file, and the number of rows of each of its row groups."""
        from pyarrow import parquet  # noqa: PLC0415 - tables says what to do where it is not there

        with reading(self._file, BINARY) as file:
            try:
                opened = parquet.ParquetFile(file, buffer_size=BLOCK)
                if shared := _shared(opened):  # a value that all rows have is in memory once
                    opened = parquet.ParquetFile(file, buffer_size=BLOCK, read_dictionary=shared)
                check_doubles(self._file, opened.schema_arrow.names)
                counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
                if sum(counts) != opened.metadata.num_rows or min(counts, default=0) < 0:
                    raise ValueError("its row groups have another number of rows than it says")
            except BROKEN as error:
                raise JobError(f"{self._file} is not a Parquet file, or is damaged: {line_of(error)}") from None
            yield opened, counts


def _shared(opened: parquet.ParquetFile) -> list[str]:
    """The columns of text or bytes whose values stand in a dictionary."""
    from pyarrow.types import is_nested  # noqa: PLC0415 - likewise

    if any(is_nested(field.type) for field in opened.schema_arrow):
        return []  # such a field may have several columns, and then the columns are others than the fields
    groups = [opened.metadata.row_group(group) for group in range(opened.num_row_groups)]
    return [
        field.name
        for at, field in enumerate(opened.schema_arrow)
        if is_binary(field.type) and any(group.column(at).has_dictionary_page for group in groups)
    ]


def _read(opened: parquet.ParquetFile, group: int) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a row group, with the problem of each; ends early where it is damaged."""
    facts = opened.metadata.row_group(group)
    columns = [facts.column(at) for at in range(facts.num_columns)]
    size = max((column.total_uncompressed_size for column in columns), default=0)
    values = max((column.num_values for column in columns), default=0)  # which say nothing of their size: it may be 0
    if size > LARGEST * facts.num_rows or values > NESTED * facts.num_rows:
        yield from repeat(({}, too_large("a cell", LARGEST if size > LARGEST else NESTED)), facts.num_rows)
        return
    together = _DECODED * facts.num_rows // max(1, facts.total_byte_size, 8 * values)
    batches = opened.iter_batches(max(1, min(BATCH, together)), row_groups=[group], use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except BROKEN:
            return
        if batch is None:
            return
        yield from rows_of(batch)
