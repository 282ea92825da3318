"""Rows of an Arrow file, which Feather is too, or of an Arrow stream; as JSON values."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicate_job.batches.rows.columns import check_doubles
from replicate_job.batches.rows.messages import BatchTooLargeError, Messages
from replicate_job.batches.rows.row import Header, Row
from replicate_job.batches.rows.source import BINARY, reading
from replicate_job.batches.rows.tables import BATCH, BROKEN, line_of, rows_of
from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyarrow import ipc

_ENDS = "the file is damaged here, and ends"


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
                rows = [({}, batch)] if isinstance(batch, str) else rows_of(batch)
                for line, (values, problem) in enumerate(rows, line + 1):  # noqa: B020 - it counts on through the batches
                    yield Row(line, values, problem)

    def count(self, most: int | None = None) -> int | None:
        if not self._regular:
            return None
        number = 0
        with self._opened() as (_, batches):
            for batch in batches:
                number += 1 if isinstance(batch, str) else batch.num_rows
                if most is not None and number >= most:
                    return most
        return number

    def remarks(self) -> list[str]:
        return []

    @contextmanager
    def _opened(self) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch | str]]]:
        """The schema, and the rows, some at a time; at last what is wrong where no more can be read."""
        from pyarrow import ipc  # noqa: PLC0415 - tables says what to do where it is not there

        with reading(self._file, BINARY) as file:
            try:
                opened = ipc.open_stream(Messages(file))
                check_doubles(self._file, opened.schema.names)
            except BROKEN as error:
                raise JobError(f"{self._file} is not an Arrow file, or is damaged: {line_of(error)}") from None
            yield opened.schema, _batches(opened)


def _batches(opened: ipc.RecordBatchStreamReader) -> Iterator[pa.RecordBatch | str]:
    while True:
        try:
            batch = opened.read_next_batch()
            batch.validate(full=True)  # else a place beyond the end of a text or dictionary is read
        except StopIteration:
            return
        except BatchTooLargeError as error:
            yield str(error)
            return
        except BROKEN:
            yield _ENDS
            return
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)
