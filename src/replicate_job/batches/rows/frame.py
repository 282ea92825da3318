"""Rows of a DataFrame, of pandas or polars, which are not imported for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, cast, runtime_checkable

_SOME = 1000  # rows that are made Python's own at once


@runtime_checkable
class Frame(Protocol):
    """What a DataFrame has, and no other iterable of rows."""

    columns: Any
    shape: Any

    def head(self, n: int = ...) -> Any: ...


def frame_names(frame: Frame) -> list[str]:
    """The names of its columns, as text."""
    return [str(name) for name in frame.columns]


def frame_rows(frame: Frame) -> Iterator[Mapping[str, Any]]:
    """Its rows, from the first; an index is no column."""
    whole = cast("Any", frame)
    if hasattr(whole, "iter_rows"):  # polars
        yield from cast("Iterable[Mapping[str, Any]]", whole.iter_rows(named=True))
        return
    for start in range(0, len(whole), _SOME):
        yield from whole.iloc[start : start + _SOME].to_dict("records")
