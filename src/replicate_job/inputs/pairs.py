"""Converts ``KEY=VALUE`` words of a command line to an input, with the types in the model's schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import JobError
from replicate_job.wire.openapi import Schema, alternatives, definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NUMBER = r"(?a)[+-]?(\d{1,400}(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?"
_SWITCHES = {"yes": True, "no": False, "1": True, "0": False}  # for inputs whose only type is boolean
_SHORT = 15  # a float holds every integer of up to 15 digits exactly
_EXACT = 2**53  # above it, a float may stand for several integers


class _Unfit(ValueError):  # noqa: N818 - control flow within this module
    """The text cannot be read as the type that was tried."""


def parse_pairs(pairs: Iterable[str], document: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read ``KEY=VALUE`` words. ``document`` is the model's OpenAPI document, None if not known.

    - A value gets its input's type in the schema. Text stays text; ``true``, ``yes``, ``1`` and their
      opposites are booleans, an integer may be written ``4.0`` or ``1e3``, objects are JSON, ``null`` is null where
      the schema allows it. A list is JSON, or its items one by one: ``KEY=a KEY=b``. A value that
      cannot be read as its type stays text, and ``check`` reports it with the other problems.
    - Without a schema, and for a name that the schema lacks, a value is read as JSON. A value that is not JSON is text,
      as in Replicate's own CLI; ``KEY='"4"'`` is the text ``4``.
    - An ``@`` has no meaning here; see ``at_path``.

    Raises one JobError that names every problem.
    """
    properties = input_schemas(document)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for pair in pairs:
        try:
            name, text = split_pair(pair)
        except JobError as problem:
            problems.append(str(problem))
            continue
        try:
            value = typed_text(text, list(alternatives(document or {}, properties.get(name))), document or {})
        except RecursionError:  # a schema that contains itself gives no type
            value = _any(text)
        if name not in values:
            values[name] = value
        elif isinstance(values[name], list) and isinstance(value, list) and name in properties:
            values[name] = values[name] + value
        else:
            problems.append(f"{name} is given twice; a list without a schema is one JSON value, {name}='[…]'")
    if problems:
        raise JobError("; ".join(problems))
    return values


def input_schemas(document: Mapping[str, Any] | None) -> dict[str, Schema]:
    """The schema of each input by its name; empty if the document has no inputs."""
    return (definition(document, "Input") or {}).get("properties") or {}


def split_pair(pair: str) -> tuple[str, str]:
    """Key and value. Raises JobError."""
    name, equals, text = pair.partition("=")
    if not equals or not name:
        raise JobError(f"{pair!r} is not KEY=VALUE")
    return name, text


def typed_text(text: str, schemas: list[Schema], document: Mapping[str, Any]) -> Any:
    """Read the text as the first type that fits. Text is tried last: ``4`` is a number if numbers and text are allowed.

    Raises RecursionError for a schema that contains itself.
    """
    return text_reader(schemas, document)(text)


def text_reader(schemas: list[Schema], document: Mapping[str, Any]) -> Callable[[str], Any]:
    """A function that reads each text as ``typed_text`` does."""
    by_type = {type_name(schema): schema for schema in schemas}
    if "" in by_type:
        return _any
    readers = [read for kind, read in _READERS.items() if kind in by_type]
    is_switch = by_type.keys() <= {"boolean", "null"}
    lists = by_type["array"] if "array" in by_type and "string" not in by_type else None

    def read_text(text: str) -> Any:
        for read in readers:
            try:
                return read(text)
            except _Unfit:
                continue
        if is_switch and text.lower() in _SWITCHES:
            return _SWITCHES[text.lower()]
        return text if lists is None else _items(text, list(alternatives(document, lists.get("items"))), document)

    return read_text


def _items(text: str, schemas: list[Schema], document: Mapping[str, Any]) -> list[Any]:
    if text.startswith("["):
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass
        else:
            if isinstance(found, list):
                return found
    return [typed_text(text, schemas, document)]


def type_name(schema: Schema) -> str:
    """The type that the schema names, or that its choices or properties imply; empty if any type is allowed."""
    if isinstance(schema.get("type"), str):
        return str(schema["type"])
    choices = schema.get("enum")
    if choices and all(isinstance(choice, str) for choice in choices):
        return "string"
    return "object" if "properties" in schema else ""


def _any(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _null(text: str) -> None:
    if text != "null":
        raise _Unfit


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise _Unfit from None


def _number(text: str) -> int | float:
    if len(text) <= _SHORT and text.isascii() and text.isdecimal():  # the usual case
        return int(text)
    if not re.fullmatch(_NUMBER, text):
        raise _Unfit
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise _Unfit
    try:
        return int(text)
    except ValueError:
        return number


def _integer(text: str) -> int:
    number = _number(text)
    if isinstance(number, float) and (not number.is_integer() or abs(number) > _EXACT):
        raise _Unfit
    return int(number)


def _object(text: str) -> dict[str, Any]:
    found = _any(text)
    if not isinstance(found, dict):
        raise _Unfit
    return found


_READERS: dict[str, Callable[[str], Any]] = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _object,
}
