"""The model input of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.errors import JobError
from replicate_job.inputs.pairs import input_schemas, local_file, type_name, typed_text
from replicate_job.wire.openapi import Schema, alternatives

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_job.rows.row import Row


class InputReader:
    """Reads rows as inputs of one model; ``document`` is its OpenAPI document, None where it is not known.

    - Where ``typed`` is False, a cell takes the type that the schema gives its column, as a ``KEY=VALUE`` word does,
      and an empty cell is an input that is not given.
    - A text ``@path`` is a file, a ``pathlib.Path``, where the schema takes a file or anything, also in a list; there
      ``@@name`` is the text ``@name``. Where the schema takes other text, both are what they say.
    """

    def __init__(self, document: Mapping[str, Any] | None, *, typed: bool) -> None:
        self._document, self._typed = document or {}, typed
        self._inputs = input_schemas(self._document)
        self._schemas: dict[str, list[Schema]] = {}
        self._problems: list[str] = []

    def __call__(self, row: Row) -> dict[str, Any]:
        """Raises JobError, with every problem in its one line; also for a row that has a ``problem``."""
        if row.problem:
            raise JobError(row.problem)
        self._problems = []
        values = {name: self._value(name, given) for name, given in row.values.items() if self._typed or given != ""}
        if self._problems:
            raise JobError("; ".join(self._problems))
        return values

    def _alternatives(self, name: str) -> list[Schema]:
        if name not in self._inputs:  # of these there is no end
            return list(alternatives(self._document, None))
        if name not in self._schemas:
            self._schemas[name] = list(alternatives(self._document, self._inputs[name]))
        return self._schemas[name]

    def _value(self, name: str, given: Any) -> Any:
        try:
            schemas = self._alternatives(name)
            value = given if self._typed else typed_text(given, schemas, self._document)
            return self._with_files(name, value, schemas)
        except RecursionError:  # a schema that contains itself says nothing
            return given if self._typed else typed_text(given, [{}], {})

    def _with_files(self, where: str, value: Any, schemas: list[Schema]) -> Any:
        if isinstance(value, list):
            lists = [schema for schema in schemas if type_name(schema) in {"", "array"}]
            inside = [item for schema in lists for item in alternatives(self._document, schema.get("items"))]
            return [self._with_files(f"{where}[{index}]", item, inside) for index, item in enumerate(value)]
        if not isinstance(value, str) or not value.startswith("@") or not any(map(_takes_file, schemas)):
            return value
        if value.startswith("@@"):
            return value[1:]
        try:
            return local_file(value[1:])
        except JobError as problem:
            self._problems.append(f"{where}: {problem} (text that starts with @ is written @@…)")
            return value


def _takes_file(schema: Schema) -> bool:
    return schema.get("format") == "uri" or not type_name(schema)
