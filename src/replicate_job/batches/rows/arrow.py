"""Rows of an Arrow file (Feather is one) or an Arrow stream, as JSON values."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicate_job.batches.rows.arrow_messages import ArrowMessages, BatchTooLargeError
from replicate_job.batches.rows.columns import check_unique
from replicate_job.batches.rows.record_batches import BATCH_ROWS, READ_ERRORS, first_line, read_batch
from replicate_job.batches.rows.row import Header, Row, Rows
from replicate_job.batches.rows.source import BINARY, reading
from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyarrow import ipc

_DAMAGED = "the file is damaged here, and ends"


class ArrowRows(Rows):
    """Rows of an Arrow file, or of an Arrow stream in a pipe. ``regular`` is False for a pipe.

    The values are those of ``plain_values``. Raises JobError for a file in another format, or with two columns of one
    name.
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
                rows = [({}, batch)] if isinstance(batch, str) else read_batch(batch)
                for line, (values, problem) in enumerate(rows, line + 1):  # noqa: B020 - counted across all batches
                    yield Row(line, values, problem)

    def count(self, limit: int | None = None) -> int | None:
        if not self._regular:
            return None
        number = 0
        with self._opened() as (_, batches):
            for batch in batches:
                number += 1 if isinstance(batch, str) else batch.num_rows
                if limit is not None and number >= limit:
                    return limit
        return number

    @contextmanager
    def _opened(self) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch | str]]]:
        """The schema, and an iterator over batches of rows. If reading has to stop, the last item is the problem."""
        from pyarrow import ipc  # noqa: PLC0415 - record_batches has reported a missing pyarrow

        with reading(self._file, BINARY) as file:
            try:
                opened = ipc.open_stream(ArrowMessages(file))
                check_unique(self._file, opened.schema.names)
            except READ_ERRORS as error:
                raise JobError(f"{self._file} is not an Arrow file, or is damaged: {first_line(error)}") from None
            yield opened.schema, _batches(opened)


def _batches(opened: ipc.RecordBatchStreamReader) -> Iterator[pa.RecordBatch | str]:
    while True:
        try:
            batch = opened.read_next_batch()
            # Without this check, a wrong offset makes pyarrow read memory beyond the end of a text or a dictionary.
            batch.validate(full=True)
        except StopIteration:
            return
        except BatchTooLargeError as error:
            yield str(error)
            return
        except READ_ERRORS:
            yield _DAMAGED
            return
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)
