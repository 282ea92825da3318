"""The model input of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.errors import JobError
from replicate_job.inputs.pairs import input_schemas, local_file, type_name, typed_text
from replicate_job.wire.openapi import Schema, alternatives

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_job.rows.row import Row


def to_input(row: Row, document: Mapping[str, Any] | None, *, typed: bool) -> dict[str, Any]:
    """Read a row as a model input; ``document`` is the model's OpenAPI document, None where it is not known.

    - Where ``typed`` is False, a cell takes the type that the schema gives its column, as a ``KEY=VALUE`` word does,
      and an empty cell is an input that is not given.
    - A text ``@path`` is a file, a ``pathlib.Path``, where the schema takes a file or anything, also in a list; there
      ``@@name`` is the text ``@name``. Where the schema takes other text, both are what they say.

    Raises JobError, with every problem in its one line; also for a row that has a ``problem``.
    """
    if row.problem:
        raise JobError(row.problem)
    reading = _Reading(document or {}, typed=typed)
    values = {name: reading.value(name, given) for name, given in row.values.items() if typed or given != ""}
    if reading.problems:
        raise JobError("; ".join(reading.problems))
    return values


class _Reading:
    """Reads the values of one row; ``problems`` holds a line for each file that is not there."""

    def __init__(self, document: Mapping[str, Any], *, typed: bool) -> None:
        self._document, self._typed = document, typed
        self._schemas = input_schemas(document)
        self.problems: list[str] = []

    def value(self, name: str, given: Any) -> Any:
        try:
            schemas = list(alternatives(self._document, self._schemas.get(name)))
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
            self.problems.append(f"{where}: {problem} (text that starts with @ is written @@…)")
            return value


def _takes_file(schema: Schema) -> bool:
    return schema.get("format") == "uri" or not type_name(schema)
