"""Grids: each row runs with every combination of some values and models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any

import msgspec

from replicate_job.batches.rows.point import Point
from replicate_job.batches.rows.row import Header, Row, Rows
from replicate_job.errors import JobError
from replicate_job.inputs.plain import native

_ITEM = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"(?=,|\Z)|(?P<plain>[^,]*)')
_RANGE = re.compile(r"(-?\d{1,15})\.\.(-?\d{1,15})", re.ASCII)
_MOST_COMBINATIONS = 10**15
_MOST = 1_000_000  # the most values of a name in a list; a range by itself is not expanded, and has no limit


class Grid(msgspec.Struct, frozen=True):
    """A grid. ``dimensions`` has the values of each name, by the name; the last name changes fastest.

    ``models`` are models besides the job's own. ``is_text`` is the ``is_text`` of every combination (see ``Point``).
    Iterating yields one combination at a time; they are not all in memory together.
    """

    dimensions: Mapping[str, Sequence[Any]] = {}
    models: tuple[str, ...] = ()
    is_text: bool = True

    def __len__(self) -> int:
        return self._combinations * (1 + len(self.models))

    def __iter__(self) -> Iterator[Point]:
        return map(self.point, range(len(self)))

    @property
    def _combinations(self) -> int:
        return prod(map(len, self.dimensions.values()))

    def point(self, number: int) -> Point:
        model, rest = divmod(number, self._combinations)
        values: dict[str, Any] = {}
        for name, choices in reversed(list(self.dimensions.items())):
            rest, index = divmod(rest, len(choices))
            values[name] = choices[index]
        values = {name: values[name] for name in self.dimensions}
        texts = {name: as_text(value) for name, value in values.items()}
        return Point(number, values, texts, self.is_text, ("", *self.models)[model])

    def rows(self, rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
        """Each row with every combination, in lists of up to ``most`` rows."""
        some: list[Row] = []
        for row in rows:
            for point in self:
                some.append(msgspec.structs.replace(row, point=point))
                if len(some) == most:
                    yield some
                    some = []
        if some:
            yield some


class OneRow(Rows):
    """A single row without values, for a grid without a file."""

    typed = True

    def header(self) -> Header:
        return Header("the command", (), is_whole=True)

    def __iter__(self) -> Iterator[Row]:
        return iter([Row(1, {})])

    def count(self, limit: int | None = None) -> int:  # noqa: ARG002 - there is one row
        return 1


def parse_grid(words: Iterable[str], models: Iterable[str], own: str) -> Grid | None:
    """Parse the values of ``--grid`` and ``--models``; None if there are none. ``own`` is the job's model.

    Raises JobError with the place of the mistake.
    """
    dimensions: dict[str, Sequence[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise JobError(f"--grid {word!r} is not NAME=VALUES")
        if name in dimensions:
            raise JobError(f"--grid {name} is given twice; one list has all values: --grid {name}=A,B")
        dimensions[name] = _values(word, name, text)
    others = _others((name.strip() for word in models for name in word.split(",")), own)
    return _grid(dimensions, others, is_text=True)


def read_grid(grid: Mapping[str, Iterable[Any]], models: Iterable[str], own: str) -> Grid | None:
    """The grid from a Python program's values; None if there are none. Raises JobError."""
    dimensions = {
        name: values if isinstance(values, range) else _checked(f"grid[{name!r}]", [native(value) for value in values])
        for name, values in grid.items()
    }
    others = _others([models] if isinstance(models, str) else models, own)
    if empty := next((name for name, values in dimensions.items() if not values), None):
        raise JobError(f"grid[{empty!r}] has no values")
    return _grid(dimensions, others, is_text=False)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str, order="deterministic").decode()


def _grid(dimensions: Mapping[str, Sequence[Any]], models: tuple[str, ...], *, is_text: bool) -> Grid | None:
    if prod(map(len, dimensions.values())) > _MOST_COMBINATIONS:
        raise JobError(f"the grid has more than {_MOST_COMBINATIONS:,} combinations")
    return Grid(dimensions, models, is_text) if dimensions or models else None


def _others(models: Iterable[str], own: str) -> tuple[str, ...]:
    names = dict.fromkeys(models)
    if "" in names:
        raise JobError("--models: there is a comma too many; give names like owner/name,owner/name")
    return tuple(name for name in names if name != own)


def _values(word: str, name: str, text: str) -> Sequence[Any]:
    items = list(_items(word, len(name) + 1, text))
    if len(items) == 1 and isinstance(items[0], range):
        return items[0]
    if sum(len(item) if isinstance(item, range) else 1 for item in items) > _MOST:
        raise JobError(f"--grid {name} has more than {_MOST:,} values; a range alone may have them")
    return _checked(
        f"--grid {name}", list(chain.from_iterable([item] if isinstance(item, str) else item for item in items))
    )


def _items(word: str, start: int, text: str) -> Iterator[str | range]:
    """The items of a list that is separated by commas and quoted as in CSV. A quoted range is a text."""
    position = 0
    while position <= len(text):
        found = _ITEM.match(text, position)
        place = f"in --grid {word!r}, column {start + position + 1}"
        if not found or (found["quoted"] is None and found["plain"][:1] == '"'):
            raise JobError(f'{place}: this quote is not closed before a comma or the end (write "" for a quote inside)')
        if found["quoted"] is not None:
            yield found["quoted"].replace('""', '"')
        elif not (plain := found["plain"].strip()):
            raise JobError(f'{place}: there is no value (write "" for an empty text)')
        elif bounds := _RANGE.fullmatch(plain):
            first, last = int(bounds[1]), int(bounds[2])
            if first > last:
                raise JobError(f"{place}: {plain} ends before it begins; write {last}..{first}")
            yield range(first, last + 1)
        else:
            yield plain
        position = found.end() + 1


def _checked(where: str, values: list[Any]) -> Sequence[Any]:
    """The values. Raises JobError for two equal values, whose rows would be the same."""
    texts: set[str] = set()
    for value in values:
        text = as_text(value)
        if text in texts:
            raise JobError(f"{where}: {text} is there twice")
        texts.add(text)
    return tuple(values)
