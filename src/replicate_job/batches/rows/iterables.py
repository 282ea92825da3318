"""Rows from a Python program: mappings of inputs, or a DataFrame of pandas or polars.

Neither library is imported for this. A DataFrame is recognised by its methods.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Protocol, cast, runtime_checkable

from replicate_job.aio import in_thread
from replicate_job.batches.rows.row import Header, Row
from replicate_job.errors import InputError
from replicate_job.inputs.held import holds, take
from replicate_job.inputs.plain import plain_values

_CHUNK = 1000  # rows of a DataFrame that are converted together


@runtime_checkable
class DataFrame(Protocol):
    """The methods by which a DataFrame is recognised among iterables of rows."""

    columns: Any
    shape: Any

    def head(self, n: int = ...) -> Any: ...


def header_of(rows: Iterable[Any] | DataFrame) -> Header:
    """The columns of a DataFrame. For other iterables, the columns are read later, from the first row."""
    if isinstance(rows, DataFrame):
        return Header("rows", [str(name) for name in rows.columns], is_whole=True)
    return Header("rows")


def number_rows(rows: Iterable[Mapping[str, Any]] | DataFrame) -> Iterator[Row]:
    """The rows, numbered from 1. The index of a DataFrame is not a column."""
    return map(_row, count(1), _frame_rows(rows) if isinstance(rows, DataFrame) else rows)


async def anumber_rows(rows: AsyncIterable[Mapping[str, Any]]) -> AsyncIterator[Row]:
    line = 0
    async for values in rows:
        line += 1
        is_read = isinstance(values, Mapping) and holds(values)
        yield await in_thread(_row, line, values) if is_read else _row(line, values)


def _frame_rows(frame: DataFrame) -> Iterator[Mapping[str, Any]]:
    whole = cast("Any", frame)
    if hasattr(whole, "iter_rows"):  # polars
        yield from cast("Iterable[Mapping[str, Any]]", whole.iter_rows(named=True))
        return
    # In chunks, since dictionaries of the whole DataFrame may not fit into memory.
    for start in range(0, len(whole), _CHUNK):
        yield from whole.iloc[start : start + _CHUNK].to_dict("records")


def _row(line: int, values: Any) -> Row:
    if not isinstance(values, Mapping):
        if not hasattr(values, "to_dict"):  # a pandas Series, a row of a DataFrame, has ``to_dict``
            return Row(line, {}, f"a row is a mapping of inputs, this is a {type(values).__name__}")
        values = values.to_dict()
    try:
        return Row(line, plain_values(take(values) if holds(values) else values))
    except InputError as error:
        return Row(line, {}, "; ".join(error.problems))
    except ValueError as error:
        return Row(line, {}, str(error))
