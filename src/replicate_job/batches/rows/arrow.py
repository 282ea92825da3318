"""Rows of an Arrow file, which Feather is too, or of an Arrow stream; as JSON values."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from replicate_job.batches.rows.columns import check_doubles
from replicate_job.batches.rows.row import Header, Row
from replicate_job.batches.rows.source import BINARY, reading
from replicate_job.batches.rows.tables import BATCH, BROKEN, line_of, rows_of
from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

_FILE = b"ARROW1"


class ArrowRows:
    """``regular`` is False for a pipe, which has a stream. For values see ``plain_values``.

    Raises JobError for a file that is none, or whose columns have no names of their own.
    """

    typed = True

    def __init__(self, file: str, *, regular: bool) -> None:
        self._file, self._regular = file, regular
        if regular:
            self.header()

    def header(self) -> Header:
        if not self._regular:
            return Header(self._file)
        with self._opened() as (schema, _):
            return Header(self._file, schema.names, is_whole=True)

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (_, batches):
            line = 0
            for batch in batches:
                rows = rows_of(batch) if batch is not None else [({}, "the file is damaged here, and ends")]
                for line, (values, problem) in enumerate(rows, line + 1):  # noqa: B020 - it counts on through the batches
                    yield Row(line, values, problem)

    def count(self, most: int | None = None) -> int | None:
        if not self._regular:
            return None
        number = 0
        with self._opened() as (_, batches):
            for batch in batches:
                number += 1 if batch is None else batch.num_rows
                if most is not None and number >= most:
                    return most
        return number

    def remarks(self) -> list[str]:
        return []

    @contextmanager
    def _opened(self) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch | None]]]:
        """The schema, and the rows, some at a time; None where the file is damaged."""
        from pyarrow import ipc  # noqa: PLC0415 - tables says what to do where it is not there

        with reading(self._file, BINARY) as file:
            try:
                is_file = file.peek(len(_FILE)).startswith(_FILE)
                opened = ipc.open_file(file) if is_file else ipc.open_stream(file)
                check_doubles(self._file, opened.schema.names)
            except BROKEN as error:
                raise JobError(f"{self._file} is not an Arrow file, or is damaged: {line_of(error)}") from None
            yield opened.schema, _batches(opened, opened.num_record_batches if is_file else None)


def _batches(opened: Any, number: int | None) -> Iterator[pa.RecordBatch | None]:
    """``number`` is that of a file's record batches; None for a stream, which tells its end."""
    index = 0
    while number is None or index < number:
        try:
            batch = opened.read_next_batch() if number is None else opened.get_batch(index)
        except StopIteration:
            return
        except BROKEN:
            yield None
            return
        index += 1
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)
