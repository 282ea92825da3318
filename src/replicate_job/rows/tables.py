"""Rows of Arrow's record batches, as JSON values: what Parquet, Arrow and Feather have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.errors import JobError
from replicate_job.inputs.plain import plain_values

try:
    import pyarrow as pa
except ImportError:
    raise JobError("reading Parquet and Arrow needs pyarrow: pip install 'replicate-job[parquet]'") from None

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 64  # rows that are decoded at once; each may hold a picture
BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError)  # the last for an unknown time zone


def rows_of(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str]]:
    """The values of each row, with its problem; see ``plain_values``."""
    batch = batch.cast(pa.schema([field.with_type(_readable(field.type)) for field in batch.schema]), safe=False)
    for row in _pylist(batch):
        yield _plain_row(row) if isinstance(row, dict) else ({}, row)


def line_of(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _plain_row(row: dict[str, Any]) -> tuple[dict[str, Any], str]:
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
