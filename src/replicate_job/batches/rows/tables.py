"""Rows of Arrow's record batches, as JSON values: what Parquet, Arrow and Feather have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.batches.rows.source import BLOCK
from replicate_job.errors import JobError
from replicate_job.inputs.plain import plain_values
from replicate_job.wire.bounds import LARGEST

try:
    import pyarrow as pa
except ImportError:
    raise JobError("reading Parquet and Arrow needs pyarrow: pip install 'replicate-job[parquet]'") from None

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 64
"""Rows that are decoded at once."""
NESTED = LARGEST // 8
"""Bytes of a cell with lists or objects: as JSON they are many times as large."""
BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError)  # the last for an unknown time zone
_VIEW = 16  # bytes of one, besides what it shows
_VIEWS = (pa.types.is_string_view, pa.types.is_binary_view)


def rows_of(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str]]:
    """The values of each row, with its problem; see ``plain_values``."""
    batch = batch.cast(pa.schema([field.with_type(_readable(field.type)) for field in batch.schema]), safe=False)
    if batch.nbytes <= BLOCK:
        yield from map(_read_row, _pylist(batch))
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        problem = _oversize(row)
        yield _read_row(problem or _pylist(row)[0])


def too_large(what: str, most: int) -> str:
    return f"{what} is larger than {most // 1024**2} MB"


def line_of(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _oversize(row: pa.RecordBatch) -> str:
    """What is wrong with a row that has a cell too large to be read."""
    for name, cell in zip(row.schema.names, row.columns, strict=True):
        if pa.types.is_dictionary(cell.type):
            cell = cell.dictionary.take(cell.indices)  # noqa: PLW2901 - the value in the place of its number
        most = NESTED if pa.types.is_nested(cell.type) else LARGEST
        if _size(cell) > most:
            return f"{name}: {too_large('the cell', most)}"
    return ""


def _size(cell: pa.Array) -> int:
    """Bytes of an array of one value."""
    is_list = pa.types.is_list(cell.type) or pa.types.is_large_list(cell.type)
    if not any(is_one(cell.type.value_type if is_list else cell.type) for is_one in _VIEWS):
        return int(cell.nbytes)
    values = cell.flatten() if is_list else cell
    if (least := _VIEW * len(values)) > NESTED:
        return least
    # Views share their buffers: what an array says of its bytes is all of these.
    return least + sum(int(value.as_buffer().size) for value in values if value.is_valid)


def _read_row(row: dict[str, Any] | str) -> tuple[dict[str, Any], str]:
    if isinstance(row, str):
        return {}, row
    try:
        return plain_values(row), ""
    except ValueError as error:
        return {}, str(error)


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
    except BROKEN as error:
        if batch.num_rows == 1:
            return [line_of(error)]
        return [row for index in range(batch.num_rows) for row in _pylist(batch.slice(index, 1))]
