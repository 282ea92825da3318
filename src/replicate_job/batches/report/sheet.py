"""The contact sheet of a report: the results of each row's combinations of a grid, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from math import prod

import msgspec

from replicate_job.batches.report.card import Card, read_card
from replicate_job.batches.results.cause import error_of
from replicate_job.batches.rows.grid import Grid, as_text
from replicate_job.batches.rows.point import Point
from replicate_job.job import Result
from replicate_job.wire.target import parse_target

LIMIT = 600
"""The most cells of a sheet."""
_WIDE = 12  # the most columns of a sheet with one row


class Cell(msgspec.Struct, frozen=True):
    """One result. ``card`` is None if the row did not succeed; ``error`` is the row's error, or empty."""

    result: Result
    latency: float | None
    card: Card | None
    error: str


class Group(msgspec.Struct, frozen=True):
    """Cells side by side. A cell is None if it has no result yet. ``labels`` has the name of each cell."""

    heading: str
    cells: list[Cell | None]
    labels: list[str]


class Sheet:
    """The cells of the first rows, up to ``LIMIT`` cells. Later rows are ignored, and take no memory.

    ``model`` is the batch's own model. ``is_cut``: rows or combinations are left out.
    """

    def __init__(self, grid: Grid, model: str) -> None:
        self._grid, self._model = grid, model
        self._points = list(islice(grid, LIMIT))
        self._by_name = {point.name: point.number for point in self._points if point.name}
        self._by_values = {(*point.texts.values(), self._slug(point)): point.number for point in reversed(self._points)}
        self._rows: dict[int, dict[int, Cell]] = {}
        self._most = max(1, LIMIT // len(self._points))
        self._last = 0
        self.is_cut = len(self._points) < len(grid)

    def add(self, result: Result, latency: float | None) -> None:
        line, number = result.line, self._number(result)
        if number is None or (len(self._rows) == self._most and line > self._last):
            self.is_cut = True
            return
        card = read_card(result, latency) if result.status == "succeeded" else None
        self._rows.setdefault(line, {})[number] = Cell(_brief(result), latency, card, error_of(result))
        if len(self._rows) > self._most:
            del self._rows[self._last]
            self.is_cut = True
        self._last = max(self._rows)

    @property
    def lines(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> list[str]:
        """The headings of the columns, the same for all groups; empty if the cells have labels instead."""
        if self.lines > 1:
            return [self._label(point, self._names) for point in self._points]
        trailing, width = self._trailing()
        return [self._label(point, trailing) for point in self._points[:width]] if self._has_rows(width) else []

    def groups(self) -> Iterator[Group]:
        """A group for each row.

        With a single row, a group for each combination of the names that are not in column headings.
        """
        trailing, width = self._trailing()
        leading = [name for name in self._names if name not in trailing]
        for line, cells in sorted(self._rows.items()):
            for start in [0] if self.lines > 1 else range(0, len(self._points), width):
                points = self._points if self.lines > 1 else self._points[start : start + width]
                # Only a prompt that all cells share can head the group.
                prompts = {cell.card.prompt for cell in cells.values() if cell.card}
                shared = prompts.pop() if len(prompts) == 1 else ""
                first = f"Line {line:,}" if self.lines > 1 else self._label(points[0], leading)
                labels = [self._label(point, self._names) for point in points]
                found = [cells.get(point.number) for point in points]
                yield Group(" · ".join(filter(None, (first, shared))), found, labels)

    @property
    def _names(self) -> list[str]:
        """The grid's names. With several models, an empty name is first: it stands for the model."""
        return [*([""] if self._grid.models else []), *self._grid.dimensions]

    def _trailing(self) -> tuple[list[str], int]:
        """The names in the column headings of a sheet with one row, and the number of their combinations."""
        sizes: Mapping[str, int] = {"": 1 + len(self._grid.models)} if self._grid.models else {}
        sizes = {**sizes, **{name: len(values) for name, values in self._grid.dimensions.items()}}
        chosen = [self._names[-1]]
        for name in reversed(self._names[:-1]):
            if prod(sizes[each] for each in (name, *chosen)) > _WIDE or name == self._names[0]:
                break
            chosen.insert(0, name)
        return chosen, prod(sizes[name] for name in chosen)

    def _has_rows(self, width: int) -> bool:
        return width < len(self._grid)

    def _label(self, point: Point, names: list[str]) -> str:
        texts = {"": point.model or self._model, **point.texts}
        return ", ".join(f"{name} = {texts[name]}" if name else texts[name] for name in names)

    def _number(self, result: Result) -> int | None:
        name = result.key.rpartition("+")[2]
        if name in self._by_name:
            return self._by_name[name]
        values = [as_text(result.grid.get(name)) for name in self._grid.dimensions]
        return self._by_values.get((*values, _slug(result.model)))

    def _slug(self, point: Point) -> str:
        return _slug(point.model or self._model)


def _slug(model: str) -> str:
    return parse_target(model).slug or model


def _brief(result: Result) -> Result:
    """The result for a saved choice, without fields that may be large."""
    return msgspec.structs.replace(result, input={}, output=None, logs="", urls={}, metrics={}, sent={})
