"""The value that an input takes from a cell, or from a JSON value."""

from __future__ import annotations

from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any, Final

import msgspec

from replicate_job.inputs.pairs import input_schemas, type_name, typed_text
from replicate_job.wire.openapi import Schema, alternatives

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_OWN = {"integer": int, "number": int, "boolean": bool}
NOTHING: Final = object()
"""The input is not given."""


class ValueReader:
    """Gives the reader of each input's values; ``document`` is the model's OpenAPI document.

    - Where ``typed`` is False, a value is the text of a cell: without its outer blanks, it takes the type that the
      schema gives its input, as a ``KEY=VALUE`` word does. An empty one is an input that is not given.
    - Else it is a JSON value. A null is an input that is not given. A text is read as a cell's where the schema takes
      no text; a number is text where it can only be one of the choices.

    What cannot be read as its type stays as it is, to be reported by the check. An ``@`` has no meaning here.
    """

    def __init__(self, document: Mapping[str, Any] | None, *, typed: bool) -> None:
        self._document, self._typed = document or {}, typed
        self._inputs = input_schemas(self._document)

    def reader(self, name: str) -> tuple[Callable[[Any], Any], type | None]:
        """What reads a value, and the type of those that stay as they are; None where all are to be read."""
        try:
            # Of what the schema lacks there is no end, and any value is taken.
            schemas = list(alternatives(self._document, self._inputs.get(name)))
        except RecursionError:  # a schema that contains itself says nothing
            schemas = [{}]
        kinds = {type_name(schema) for schema in schemas}
        if all(map(_takes_text, schemas)) and kinds == {"string"}:
            read = _typed_choice if any("enum" in schema for schema in schemas) else _typed_plain
            return (read, str) if self._typed else (_plain_cell, None)
        if self._typed:
            return partial(self._typed_value, schemas=schemas, kinds=kinds), _OWN.get("".join(kinds))
        return partial(self._cell, schemas=schemas), None

    def _cell(self, given: str, schemas: Sequence[Schema]) -> Any:
        text = given.strip()
        return self._read(text, schemas) if text else NOTHING

    def _typed_value(self, given: Any, schemas: Sequence[Schema], kinds: set[str]) -> Any:
        if isinstance(given, str):
            text = given.strip()
            if any(map(_takes_text, schemas)):
                return given
            if not text:
                return NOTHING
            return text if "string" in kinds else self._read(text, schemas)
        is_choice = kinds <= {"string", "null"} and any("enum" in schema for schema in schemas)
        return _typed_choice(given) if is_choice else _typed_number(given, kinds)

    def _read(self, text: str, schemas: Sequence[Schema]) -> Any:
        try:
            return typed_text(text, list(schemas), self._document)
        except RecursionError:
            return typed_text(text, [{}], {})


def _plain_cell(given: str) -> Any:
    """Text for an input of text."""
    return given.strip() or NOTHING


def _typed_plain(given: Any) -> Any:
    """A JSON value for an input of text."""
    return NOTHING if given is None or _is_nan(given) else given


def _typed_choice(given: Any) -> Any:
    """A JSON value for an input of some texts: libraries take ``"4"`` for a number."""
    value = _typed_plain(given)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return msgspec.json.encode(_whole(value)).decode() if is_number else value


def _typed_number(given: Any, kinds: set[str]) -> Any:
    """A JSON value for an input that takes more than text: the same number, in the type that the input has."""
    if (value := _typed_plain(given)) is NOTHING:
        return value
    if isinstance(given, bool) or not isinstance(given, int | float):
        return given
    if kinds <= {"boolean", "null"}:
        return bool(given) if given in {0, 1} else given
    return _whole(given) if kinds <= {"integer", "null"} else given


def _whole(number: float) -> float:
    """The number, without a point that says nothing: integers with gaps between them are floats in many libraries."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and isnan(value)


def _takes_text(schema: Schema) -> bool:
    return schema.get("format") != "uri" and type_name(schema) in {"", "string"}
