"""Rows of a Parquet file, as JSON values."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, islice, repeat
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any
from uuid import UUID

from replicate_job.errors import JobError
from replicate_job.rows.opening import BLOCK, check_columns, reading
from replicate_job.rows.row import Row
from replicate_job.wire.bounds import LARGEST

try:
    import pyarrow as pa
    from pyarrow import parquet
except ImportError:
    raise JobError("reading Parquet needs pyarrow: pip install 'replicate-job[parquet]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BATCH = 64  # rows that are decoded at once
_DECODED = 16 * 1024**2  # bytes that are, where rows are of a size; each may hold a picture
_NESTED = LARGEST // 8  # bytes of a cell with lists or objects: as JSON they are many times as large
_BINARY = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
_BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError)  # the last for an unknown time zone


class ParquetRows:
    """``regular`` must be True: the description of a Parquet file is at its end, which a pipe has not yet.

    A null is an input that is not given, and so is a NaN. Times are ISO 8601 text (to the microsecond), durations are
    seconds, decimals are numbers, bytes are text where they are UTF-8. Raises JobError for a file that is damaged, or
    whose columns have no names of their own.
    """

    typed = True

    def __init__(self, file: str, *, regular: bool) -> None:
        if not regular:
            raise JobError(f"{file}: Parquet cannot be read from a pipe; save it as a file first")
        self._file = file
        self.count()

    def __iter__(self) -> Iterator[Row]:
        with self._opened() as (opened, counts):
            first = 1
            for group, count in enumerate(counts):
                rows = chain(_read(opened, group), repeat(({}, "the file is damaged here")))
                for line, (values, problem) in enumerate(islice(rows, count), first):
                    yield Row(line, values, problem)
                first += count

    def count(self) -> int | None:
        with self._opened() as (_, counts):
            return sum(counts)

    @contextmanager
    def _opened(self) -> Iterator[tuple[parquet.ParquetFile, list[int]]]:
        """The file, and the number of rows of each of its row groups."""
        with reading(self._file) as file:
            try:
                opened = parquet.ParquetFile(file, buffer_size=BLOCK)
                if shared := _shared(opened):  # a value that all rows have is in memory once
                    opened = parquet.ParquetFile(file, buffer_size=BLOCK, read_dictionary=shared)
                check_columns(self._file, opened.schema_arrow.names)
                counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
                if sum(counts) != opened.metadata.num_rows or min(counts, default=0) < 0:
                    raise ValueError("its row groups have another number of rows than it says")
            except _BROKEN as error:
                raise JobError(f"{self._file} is not a Parquet file, or is damaged: {_line(error)}") from None
            yield opened, counts


def _shared(opened: parquet.ParquetFile) -> list[str]:
    """The columns of text or bytes whose values stand in a dictionary."""
    groups = [opened.metadata.row_group(group) for group in range(opened.num_row_groups)]
    return [
        field.name
        for at, field in enumerate(opened.schema_arrow)
        if not _has_nested(opened) and _is_binary(field.type)
        if any(group.column(at).has_dictionary_page for group in groups)
    ]


def _has_nested(opened: parquet.ParquetFile) -> bool:
    """Whether its columns are others than those of its schema, of which some have several."""
    return any(pa.types.is_nested(field.type) for field in opened.schema_arrow)


def _is_binary(kind: pa.DataType) -> bool:
    is_binary: bool = any(is_one(kind) for is_one in _BINARY)
    return is_binary


def _read(opened: parquet.ParquetFile, group: int) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a row group, with the problem of each; ends early where it is damaged."""
    facts = opened.metadata.row_group(group)
    columns = [facts.column(at) for at in range(facts.num_columns)]
    size = max((column.total_uncompressed_size for column in columns), default=0)
    values = max((column.num_values for column in columns), default=0)  # which say nothing of their size: it may be 0
    if size > LARGEST * facts.num_rows or values > _NESTED * facts.num_rows:
        yield from repeat(({}, _too_large("a cell", LARGEST if size > LARGEST else _NESTED)), facts.num_rows)
        return
    together = _DECODED * facts.num_rows // max(1, facts.total_byte_size, 8 * values)
    batches = opened.iter_batches(max(1, min(_BATCH, together)), row_groups=[group], use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except _BROKEN:
            return
        if batch is None:
            return
        batch = batch.cast(pa.schema([field.with_type(_readable(field.type)) for field in batch.schema]), safe=False)
        yield from _rows(batch)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str]]:
    if batch.nbytes <= BLOCK:
        yield from map(_read_row, _pylist(batch))
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        problem = _oversize(row)
        yield _read_row(problem or _pylist(row)[0])


def _oversize(row: pa.RecordBatch) -> str:
    """What is wrong with a row that has a cell too large to be read."""
    for name, cell in zip(row.schema.names, row.columns, strict=True):
        most = _NESTED if pa.types.is_nested(cell.type) else LARGEST
        if _size(cell) > most:
            return f"{name}: {_too_large('the cell', most)}"
    return ""


def _too_large(what: str, most: int) -> str:
    return f"{what} is larger than {most // 1024**2} MB"


def _size(cell: pa.Array) -> int:
    """Bytes of an array of one value."""
    if not pa.types.is_dictionary(cell.type):
        return int(cell.nbytes)
    return 0 if cell.null_count else int(cell.dictionary[cell.indices[0].as_py()].as_buffer().size)


def _readable(kind: pa.DataType) -> pa.DataType:
    """The type, or one near it that Python's own types can hold."""
    if pa.types.is_float16(kind):
        return pa.float32()
    if getattr(kind, "unit", "") != "ns":
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def _pylist(batch: pa.RecordBatch) -> list[dict[str, Any] | str]:
    """Each row, or why Python has no such values."""
    try:
        return list(batch.to_pylist())
    except _BROKEN as error:
        if batch.num_rows == 1:
            return [_line(error)]
        return [row for index in range(batch.num_rows) for row in _pylist(batch.slice(index, 1))]


def _read_row(row: dict[str, Any] | str) -> tuple[dict[str, Any], str]:
    return _json_row(row) if isinstance(row, dict) else ({}, row)


def _json_row(row: dict[str, Any]) -> tuple[dict[str, Any], str]:
    values, problems = {}, []
    for name, value in row.items():
        if value is None or (isinstance(value, float) and isnan(value)):
            continue
        try:
            values[name] = _json(value)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return ({}, "; ".join(problems)) if problems else (values, "")


def _json(value: Any) -> Any:
    """The value as JSON has it. Raises ValueError, with a reason that can be shown."""
    match value:
        case str() | bool() | int() | None:
            return value
        case float() if isfinite(value):
            return value
        case [(_, _), *_] if isinstance(value[0], tuple):  # a map, as pyarrow gives it
            return _json(dict(value))
        case list():
            return [_json(item) for item in value]
        case dict():
            return {str(key): _json(item) for key, item in value.items() if item is not None}
    for kind, form in _FORMS.items():
        if isinstance(value, kind):
            return form(value)
    raise ValueError(f"{value!r:.60} is nothing that JSON can carry")


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError("bytes that are not UTF-8 text; give a path (@path) or a URL instead") from None


_FORMS: dict[type, Callable[[Any], Any]] = {
    Decimal: _number,
    datetime: datetime.isoformat,  # before date, which it is too
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    UUID: str,
    bytes: _text,
}


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
