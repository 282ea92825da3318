"""The model input of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.errors import JobError
from replicate_job.inputs.at_path import AtPaths, Reading
from replicate_job.inputs.pairs import input_schemas, typed_text
from replicate_job.wire.openapi import Schema, alternatives

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from replicate_job.rows.row import Row


class InputReader:
    """Reads rows as inputs of one model; ``document`` is its OpenAPI document, None where it is not known.

    - Where ``typed`` is False, a cell takes the type that the schema gives its column, as a ``KEY=VALUE`` word does,
      and an empty cell is an input that is not given.
    - ``@path`` and ``@@`` are read as ``AtPaths`` does; ``within`` and ``observe`` are its. A file of rows may be
      somebody else's: what its texts may be taken from is for the caller to say.
    """

    def __init__(
        self,
        document: Mapping[str, Any] | None,
        *,
        typed: bool,
        within: Sequence[Path] = (),
        observe: Callable[[Reading], None] = lambda _: None,
    ) -> None:
        self._document, self._typed = document or {}, typed
        self._inputs = input_schemas(self._document)
        self._schemas: dict[str, list[Schema]] = {}
        self._at = AtPaths(document, within=within, observe=observe)

    def __call__(self, row: Row) -> dict[str, Any]:
        """Raises JobError, with every problem in its one line; also for a row that has a ``problem``."""
        if row.problem:
            raise JobError(row.problem)
        if self._typed:
            return self._at.read(row.values)
        return self._at.read({name: self._value(name, text) for name, text in row.values.items() if text != ""})

    def _alternatives(self, name: str) -> list[Schema]:
        if name not in self._inputs:  # of these there is no end
            return list(alternatives(self._document, None))
        if name not in self._schemas:
            self._schemas[name] = list(alternatives(self._document, self._inputs[name]))
        return self._schemas[name]

    def _value(self, name: str, text: str) -> Any:
        try:
            return typed_text(text, self._alternatives(name), self._document)
        except RecursionError:  # a schema that contains itself says nothing
            return typed_text(text, [{}], {})
