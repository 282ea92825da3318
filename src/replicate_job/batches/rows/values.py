"""Converts a cell of text, or a JSON value, to the value of an input."""

from __future__ import annotations

from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any, Final

import msgspec

from replicate_job.inputs.pairs import input_schemas, text_reader, type_name
from replicate_job.wire.openapi import Schema, alternatives

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PYTHON_TYPES = {"integer": int, "number": int, "boolean": bool}
MISSING: Final = object()
"""The value of an input for which the row has no value."""


class ValueReader:
    """Makes the functions that read the values of inputs. ``document`` is the model's OpenAPI document.

    - If ``typed`` is False, a value is the text of a cell. The text is stripped, and converted to the input's type in
      the schema, like a ``KEY=VALUE`` word. An empty cell leaves the input out.
    - Otherwise a value is a JSON value. A null leaves the input out. A text is read like a cell if the schema
      accepts no text. A number becomes text if the schema accepts only certain texts.

    A value that cannot be read as its type is not changed, and the check reports it. An ``@`` is not interpreted.
    """

    def __init__(self, document: Mapping[str, Any] | None, *, typed: bool) -> None:
        self._document, self._typed = document or {}, typed
        self._inputs = input_schemas(self._document)

    def reader(self, name: str) -> tuple[Callable[[Any], Any], type | None]:
        """The function that converts a value for this input, and the type of the values that stay as they are.

        The type is None if every value must be converted.
        """
        try:
            schemas = list(alternatives(self._document, self._inputs.get(name)))
        except RecursionError:  # a schema that contains itself: its types cannot be listed
            schemas = [{}]
        kinds = {type_name(schema) for schema in schemas}
        if all(map(_takes_text, schemas)) and kinds == {"string"}:
            read = _typed_choice if any("enum" in schema for schema in schemas) else _typed_plain
            return (read, str) if self._typed else (_plain_cell, None)  # a cell must be stripped
        read_text = text_reader(schemas, self._document)
        if self._typed:
            return partial(_typed_value, schemas, kinds, read_text), _PYTHON_TYPES.get("".join(kinds))
        return partial(_typed_cell, read_text), None


def _typed_cell(read_text: Callable[[str], Any], cell: str) -> Any:
    """Read a cell for an input that accepts other values than text."""
    text = cell.strip()
    return _read(text, read_text) if text else MISSING


def _typed_value(schemas: Sequence[Schema], kinds: set[str], read_text: Callable[[str], Any], value: Any) -> Any:
    """Read a JSON value for an input that accepts other values than text."""
    if isinstance(value, str):
        text = value.strip()
        if any(map(_takes_text, schemas)):
            return value
        if not text:
            return MISSING
        return text if "string" in kinds else _read(text, read_text)
    is_choice = kinds <= {"string", "null"} and any("enum" in schema for schema in schemas)
    return _typed_choice(value) if is_choice else _typed_number(value, kinds)


def _read(text: str, read_text: Callable[[str], Any]) -> Any:
    try:
        return read_text(text)
    except RecursionError:  # a schema that contains itself: its types cannot be listed
        return text_reader([{}], {})(text)


def _plain_cell(cell: str) -> Any:
    """Read a cell for an input of text."""
    return cell.strip() or MISSING


def _typed_plain(value: Any) -> Any:
    """Read a JSON value for an input of text."""
    return MISSING if value is None or _is_nan(value) else value


def _typed_choice(value: Any) -> Any:
    """Read a JSON value for an input that accepts only certain texts.

    A number becomes text, since libraries read ``"4"`` as 4.
    """
    value = _typed_plain(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return msgspec.json.encode(_whole(value)).decode() if is_number else value


def _typed_number(value: Any, kinds: set[str]) -> Any:
    """Convert a number to the type of an input that accepts other values than text."""
    if _typed_plain(value) is MISSING:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if kinds <= {"boolean", "null"}:
        return bool(value) if value in {0, 1} else value
    return _whole(value) if kinds <= {"integer", "null"} else value


def _whole(number: float) -> float:
    """``4`` for ``4.0``: many libraries turn a column of integers with gaps into floats."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and isnan(value)


def _takes_text(schema: Schema) -> bool:
    return schema.get("format") != "uri" and type_name(schema) in {"", "string"}
