"""Rows of a Parquet file, as JSON values."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from replicate_job.batches.rows.columns import check_doubles
from replicate_job.batches.rows.pages import pages_of
from replicate_job.batches.rows.row import Header, Row
from replicate_job.batches.rows.source import BINARY, BLOCK, reading
from replicate_job.batches.rows.tables import BATCH, BROKEN, VALUES, line_of, rows_of, too_large
from replicate_job.errors import JobError
from replicate_job.wire.bounds import LARGEST, ROW

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    import pyarrow as pa
    from pyarrow import parquet

_DECODED = 16 * 1024**2  # bytes that are decoded at once, where rows are of a size; each may hold a picture
_PAGE = LARGEST  # bytes, unpacked
_DICTIONARY = _PAGE // 2  # likewise, of a page of what rows share, which is copied once more
_CATEGORY = _PAGE // 8  # likewise, of a dictionary that is read as one, which takes eight times its size


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
        with self._opened() as (_, opened, _):
            return Header(self._file, opened.schema_arrow.names, is_whole=True)

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (file, opened, counts):
            first = 1
            for group, count in enumerate(counts):
                rows = chain(_read(file, opened, group), repeat(({}, "the file is damaged here")))
                for line, (values, problem) in enumerate(islice(rows, count), first):
                    yield Row(line, values, problem)
                first += count

    def count(self, most: int | None = None) -> int | None:
        with self._opened() as (_, _, counts):
            return sum(counts) if most is None else min(most, sum(counts))

    def remarks(self) -> list[str]:
        return []

    @contextmanager
    def _opened(self) -> Iterator[tuple[io.BufferedReader, parquet.ParquetFile, list[int]]]:
        """The file, as bytes and as Parquet, and the number of rows of each of its row groups."""
        from pyarrow import parquet  # noqa: PLC0415 - tables says what to do where it is not there

        with reading(self._file, BINARY) as file:
            try:
                opened = parquet.ParquetFile(file, buffer_size=BLOCK)
                if texts := _repeated_texts(opened):
                    opened = parquet.ParquetFile(
                        file, metadata=opened.metadata, read_dictionary=texts, buffer_size=BLOCK
                    )
                check_doubles(self._file, opened.schema_arrow.names)
                counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
                if sum(counts) != opened.metadata.num_rows or min(counts, default=0) < 0:
                    raise ValueError("its row groups have another number of rows than it says")
            except BROKEN as error:
                raise JobError(f"{self._file} is not a Parquet file, or is damaged: {line_of(error)}") from None
            yield file, opened, counts


def _read(file: io.BufferedReader, opened: parquet.ParquetFile, group: int) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a row group, with the problem of each; ends early where it is damaged."""
    facts = opened.metadata.row_group(group)
    columns = [facts.column(at) for at in range(facts.num_columns)]
    values = max((column.num_values for column in columns), default=0)  # which say nothing of their size: it may be 0
    try:
        shared, problem = _pages(file, columns, _categories(opened.schema_arrow))
    except BROKEN:
        return
    if problem := _oversize(facts.num_rows, columns, values) or problem:
        yield from repeat(({}, problem), facts.num_rows)
        return
    together = _DECODED * facts.num_rows // max(1, facts.total_byte_size, 8 * values)
    together = max(1, min(BATCH, together, _DECODED // max(1, shared)))
    batches = opened.iter_batches(together, row_groups=[group], use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except BROKEN:
            return
        if batch is None:
            return
        yield from rows_of(batch)


def _oversize(rows: int, columns: list[Any], values: int) -> str:
    """What is wrong with a row group whose cells are too large on average."""
    size = max((column.total_uncompressed_size for column in columns), default=0)
    if size > LARGEST * rows:
        return too_large("a cell", ROW)
    return f"a cell has more than {VALUES:,} values" if values > VALUES * rows else ""


def _repeated_texts(opened: parquet.ParquetFile) -> list[str]:
    """Columns of lists of texts. Read as dictionaries, a list that has one text many times does not unpack it."""
    columns = [opened.schema.column(at) for at in range(len(opened.schema))]
    return [each.path for each in columns if each.max_repetition_level and each.physical_type == "BYTE_ARRAY"]


def _categories(schema: pa.Schema) -> tuple[str, ...]:
    """How the paths of columns begin that are read as dictionaries."""
    return tuple(f"{field.name}." for field in schema if "dictionary<" in str(field.type))


def _pages(file: io.BufferedReader, columns: list[Any], categories: tuple[str, ...]) -> tuple[int, str]:
    """Bytes that a row may take of pages whose bytes rows share; and what is wrong with a page that is too large.

    The headers of all pages are read: what a file says of a column as a whole need not be true.
    """
    shared = 0
    for column in columns:
        common = 0
        is_category = f"{column.path_in_schema}.".startswith(categories)
        for page in pages_of(file, column):
            most = (_CATEGORY if is_category else _DICTIONARY) if page.is_shared else _PAGE
            if page.size > most:
                what = too_large(f"{column.path_in_schema}: a page of the row group", most)
                return 0, f"{what}; write the table with fewer rows a row group, or smaller cells"
            if page.is_shared and not is_category and column.physical_type.endswith("BYTE_ARRAY"):
                common = max(common, page.unpacked)
        shared += common
    return shared, ""
