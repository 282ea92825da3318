"""Rows of Arrow's record batches as JSON values, for Parquet, Arrow and Feather."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job import extras
from replicate_job.batches.rows.lines import HEAVY
from replicate_job.batches.rows.source import BLOCK
from replicate_job.errors import JobError
from replicate_job.inputs.plain import plain_values
from replicate_job.wire.bounds import ROW, ROW_HEAVIEST, WEIGHTS

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError:
    raise JobError(f"reading Parquet and Arrow needs pyarrow: {extras.advice('parquet')}") from None

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_ROWS = 64
"""Rows that are decoded together."""
# The errors that pyarrow raises for a damaged file. LookupError is for an unknown time zone.
READ_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError)
_OBJECT, _LIST, _TEXT, _VALUE = (WEIGHTS[ord(sign)] for sign in '{[",')
MOST_VALUES = ROW_HEAVIEST // _VALUE
"""The most values of a cell."""
_OFFSETS = {
    pa.string(): pa.int32(),
    pa.binary(): pa.int32(),
    pa.large_string(): pa.int64(),
    pa.large_binary(): pa.int64(),
}


def read_batch(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str]]:
    """The values and the problem of each row; see ``plain_values``."""
    kinds = [_readable(field.type) for field in batch.schema]
    if kinds != batch.schema.types:  # even if no type changes, a cast copies dictionary-encoded columns
        fields = [field.with_type(kind) for field, kind in zip(batch.schema, kinds, strict=True)]
        batch = batch.cast(pa.schema(fields), safe=False)
    if batch.nbytes <= BLOCK and sum(map(weight, filter(_is_deep, batch.columns))) <= ROW_HEAVIEST:
        yield from map(_read_row, _to_python(batch))
        return
    # All rows together are too large. They are read one by one, so that only a row that is too large itself fails.
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        problem = _oversize(row)
        yield _read_row(problem or _to_python(row)[0])


def too_large(subject: str, limit: int) -> str:
    return f"{subject} is larger than {limit // 1024**2} MB"


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _oversize(row: pa.RecordBatch) -> str:
    """The problem of a row with a cell that is too large to be read."""
    for name, cell in zip(row.schema.names, row.columns, strict=True):
        inner = cell.type.value_type if pa.types.is_dictionary(cell.type) else cell.type
        is_nested = pa.types.is_nested(inner)
        if weight(cell) > (ROW_HEAVIEST if is_nested else ROW + _TEXT):
            return f"{name}: {HEAVY if is_nested else too_large('the cell', ROW)}"
    return ""


def weight(array: pa.Array) -> int:  # noqa: PLR0911 - a kind a line
    """The approximate bytes that the values take in Python. Nothing is decompressed to compute them.

    A value that several rows share counts for each row.
    """
    kind, count = array.type, len(array)
    if pa.types.is_dictionary(kind):
        return _dictionary_weight(array.dictionary, array.indices.drop_null().cast(pa.int64()))
    if pa.types.is_map(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return _OBJECT * count + sum(weight(part.slice(first, last - first)) for part in (array.keys, array.items))
    if pa.types.is_struct(kind):
        return _OBJECT * count + sum(map(weight, array.flatten()))
    if pa.types.is_nested(kind):
        # An array without ``flatten`` does not show its lists, so each list counts as if it had all bytes.
        return _LIST * count + weight(array.flatten()) if hasattr(array, "flatten") else count * (_LIST + array.nbytes)
    if kind in _OFFSETS or pa.types.is_fixed_size_binary(kind):
        return _TEXT * count + int(pc.sum(pc.binary_length(array)).as_py() or 0)
    if kind in {pa.string_view(), pa.binary_view()} and count <= MOST_VALUES:
        return _TEXT * count + sum(int(value.as_buffer().size) for value in array if value.is_valid)
    return _VALUE * count


def _dictionary_weight(values: pa.Array, indices: pa.Array) -> int:
    """The weight of the values to which ``indices`` refer."""
    if offset := _OFFSETS.get(values.type):
        offsets = pa.Array.from_buffers(offset, len(values) + 1, [None, values.buffers()[1]], offset=values.offset)
        lengths = pc.subtract(offsets.take(pc.add(indices, 1)), offsets.take(indices))
        return _TEXT * len(indices) + int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
    if not _is_deep(values) and values.type not in {pa.string_view(), pa.binary_view()}:
        return _VALUE * len(indices)
    counts = indices.value_counts()
    return sum(weight(values.slice(item["values"].as_py(), 1)) * item["counts"].as_py() for item in counts)


def _is_deep(array: pa.Array) -> bool:
    return bool(pa.types.is_nested(array.type) or pa.types.is_dictionary(array.type))


def _read_row(row: dict[str, Any] | str) -> tuple[dict[str, Any], str]:
    if isinstance(row, str):
        return {}, row
    try:
        return plain_values(row, of_table=True), ""
    except ValueError as error:
        return {}, str(error)


def _readable(kind: pa.DataType) -> pa.DataType:
    """The type, or the nearest type that Python has values for, since Python's times are no finer than microseconds."""
    if pa.types.is_float16(kind):
        return pa.float32()
    if getattr(kind, "unit", "") != "ns":
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def _to_python(batch: pa.RecordBatch) -> list[dict[str, Any] | str]:
    """The values of each row, or the reason why Python cannot represent them."""
    try:
        return list(batch.to_pylist())
    except READ_ERRORS as error:
        if batch.num_rows == 1:
            return [first_line(error)]
        # One value makes the whole batch fail. Row by row, only the row with that value fails.
        return [row for index in range(batch.num_rows) for row in _to_python(batch.slice(index, 1))]
