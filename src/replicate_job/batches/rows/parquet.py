"""Rows of a Parquet file, as JSON values."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from replicate_job.batches.rows.columns import check_unique
from replicate_job.batches.rows.parquet_pages import pages_of
from replicate_job.batches.rows.record_batches import (
    BATCH_ROWS,
    MOST_VALUES,
    READ_ERRORS,
    first_line,
    read_batch,
    too_large,
)
from replicate_job.batches.rows.row import Header, Row, Rows
from replicate_job.batches.rows.source import BINARY, BLOCK, reading
from replicate_job.errors import JobError
from replicate_job.wire.bounds import LARGEST, ROW

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    import pyarrow as pa
    from pyarrow import parquet

_DECODED = 16 * 1024**2  # bytes that are decoded at a time; a row may contain a picture
_PAGE = LARGEST  # the most bytes of a decompressed page
# The most bytes of a decompressed page that is shared (see ``ParquetPage``): pyarrow copies its bytes once more.
_SHARED_PAGE = _PAGE // 2
# The most bytes of a decompressed page that is read as a dictionary: pyarrow needs eight times its size in memory.
_CATEGORY_PAGE = _PAGE // 8


class ParquetRows(Rows):
    """Rows of a Parquet file. The values are those of ``plain_values``.

    ``regular`` must be True: the description of a Parquet file is at its end, which comes last from a pipe. Raises
    JobError for a pipe, a damaged file, or a file with two columns of one name.
    """

    typed = True

    def __init__(self, file: str, *, regular: bool) -> None:
        if not regular:
            raise JobError(f"{file}: Parquet cannot be read from a pipe; save it as a file first")
        self._file = file
        self.count()  # a damaged file is refused at once, before the batch begins

    def header(self) -> Header:
        with self._opened() as (_, opened, _):
            return Header(self._file, opened.schema_arrow.names, is_whole=True)

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (file, opened, counts):
            first = 1
            for group, count in enumerate(counts):
                # A damaged group keeps its number of rows, so that the rows after the group keep their line numbers.
                rows = chain(_read_group(file, opened, group), repeat(({}, "the file is damaged here")))
                for line, (values, problem) in enumerate(islice(rows, count), first):
                    yield Row(line, values, problem)
                first += count

    def count(self, limit: int | None = None) -> int | None:
        with self._opened() as (_, _, counts):
            return sum(counts) if limit is None else min(limit, sum(counts))

    @contextmanager
    def _opened(self) -> Iterator[tuple[io.BufferedReader, parquet.ParquetFile, list[int]]]:
        """The file as bytes and as Parquet, and the number of rows of each row group."""
        from pyarrow import parquet  # noqa: PLC0415 - record_batches has reported a missing pyarrow

        with reading(self._file, BINARY) as file:
            try:
                opened = parquet.ParquetFile(file, buffer_size=BLOCK)
                if texts := _text_lists(opened):
                    opened = parquet.ParquetFile(
                        file, metadata=opened.metadata, read_dictionary=texts, buffer_size=BLOCK
                    )
                check_unique(self._file, opened.schema_arrow.names)
                counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
                if sum(counts) != opened.metadata.num_rows or min(counts, default=0) < 0:
                    raise ValueError("its row groups have another number of rows than it says")
            except READ_ERRORS as error:
                raise JobError(f"{self._file} is not a Parquet file, or is damaged: {first_line(error)}") from None
            yield file, opened, counts


def _read_group(
    file: io.BufferedReader, opened: parquet.ParquetFile, group: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """The values and the problem of each row of a row group. Ends early if the file is damaged."""
    metadata = opened.metadata.row_group(group)
    columns = [metadata.column(index) for index in range(metadata.num_columns)]
    values = max((column.num_values for column in columns), default=0)
    try:
        shared, problem = _check_pages(file, columns, _categories(opened.schema_arrow))
    except READ_ERRORS:
        return  # the caller yields rows with the problem that the file is damaged
    if problem := _oversize(metadata.num_rows, columns, values) or problem:
        yield from repeat(({}, problem), metadata.num_rows)
        return
    # A value may take no bytes in the file, as a null does, but it takes eight in memory.
    size = _DECODED * metadata.num_rows // max(1, metadata.total_byte_size, 8 * values)
    size = max(1, min(BATCH_ROWS, size, _DECODED // max(1, shared)))
    batches = opened.iter_batches(size, row_groups=[group], use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except READ_ERRORS:
            return
        if batch is None:
            return
        yield from read_batch(batch)


def _oversize(rows: int, columns: list[Any], values: int) -> str:
    """The problem of a row group whose cells are too large on average."""
    size = max((column.total_uncompressed_size for column in columns), default=0)
    if size > LARGEST * rows:
        return too_large("a cell", ROW)
    return f"a cell has more than {MOST_VALUES:,} values" if values > MOST_VALUES * rows else ""


def _text_lists(opened: parquet.ParquetFile) -> list[str]:
    """The paths of the columns with lists of texts.

    These columns are read dictionary-encoded, so that a long text that a list repeats is in memory only once.
    """
    columns = [opened.schema.column(index) for index in range(len(opened.schema))]
    return [column.path for column in columns if column.max_repetition_level and column.physical_type == "BYTE_ARRAY"]


def _categories(schema: pa.Schema) -> tuple[str, ...]:
    """The path prefixes (``name.``) of the columns that use Arrow's dictionary encoding."""
    return tuple(f"{field.name}." for field in schema if "dictionary<" in str(field.type))


def _check_pages(file: io.BufferedReader, columns: list[Any], categories: tuple[str, ...]) -> tuple[int, str]:
    """The most bytes of shared pages that a row may use, and the problem of a page that is too large.

    The problem is empty if no page is too large. A page is shared if several rows may use the same bytes of the page.
    The headers of all pages are read, since the file's metadata about a column may be wrong.
    """
    shared = 0
    for column in columns:
        largest = 0
        is_category = f"{column.path_in_schema}.".startswith(categories)
        for page in pages_of(file, column):
            limit = (_CATEGORY_PAGE if is_category else _SHARED_PAGE) if page.is_shared else _PAGE
            if page.size > limit:
                problem = too_large(f"{column.path_in_schema}: a page of the row group", limit)
                return 0, f"{problem}; write the table with fewer rows a row group, or smaller cells"
            if page.is_shared and not is_category and column.physical_type.endswith("BYTE_ARRAY"):
                largest = max(largest, page.decompressed)
        shared += largest
    return shared, ""
