"""Reading a model's OpenAPI document: what its input and output may be.

Cog writes OpenAPI 3.0 (``nullable: true``, enums as ``allOf: [{"$ref": …}]``); newer documents use the 3.1 forms
(``type: ["string", "null"]``, ``anyOf`` with ``{"type": "null"}``). Both are read here.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Schema = dict[str, Any]
Position = tuple[str | int, ...]
"""The steps that lead to a value: ``()`` for the whole, ``("images", 0)`` inside it."""

_LOCAL = "#/components/schemas/"
_NULL: Schema = {"type": "null"}
MOST = 64
"""Alternatives of one schema that are looked at; references can multiply them without end."""
DEEPEST = 50
"""Schemas inside schemas."""
_ONE = {"items", "additionalProperties", "not"}
_SEVERAL = {"allOf", "anyOf", "oneOf"}
_NAMED = {"properties", "patternProperties"}
_HOLDERS = (str, list, dict)  # not the numbers, of which there may be millions


def definition(document: Mapping[str, Any] | None, name: str) -> Schema | None:
    """``components.schemas.<name>``; None where the document has none."""
    found: Any = document
    for key in ("components", "schemas", name):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def secret_inputs(document: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Names of inputs that the API never gives back: ``format: password``, ``writeOnly``, ``x-cog-secret``."""
    properties = (definition(document, "Input") or {}).get("properties")
    if document is None or not isinstance(properties, dict):
        return ()
    return tuple(name for name, schema in properties.items() if any(map(_is_secret, alternatives(document, schema))))


def _is_secret(schema: Schema) -> bool:
    return schema.get("format") == "password" or schema.get("writeOnly") is True or bool(schema.get("x-cog-secret"))


def alternatives(document: Mapping[str, Any], schema: Any, _seen: frozenset[str] = frozenset()) -> Iterator[Schema]:
    """The plain schemas that a value may follow, each with one ``type`` at most.

    References are followed, ``allOf`` is merged, ``anyOf``, ``oneOf``, lists of types and ``nullable`` are opened.
    A reference that leads nowhere, or back to itself, allows anything: ``{}``. Of very many only the first are given.
    """
    yield from islice(_alternatives(document, schema, _seen), MOST)


def _alternatives(document: Mapping[str, Any], schema: Any, _seen: frozenset[str]) -> Iterator[Schema]:
    if not isinstance(schema, dict):
        yield {}
        return
    own = {key: value for key, value in schema.items() if key not in {"$ref", "allOf", "anyOf", "oneOf", "nullable"}}
    if schema.get("nullable") is True:
        yield _NULL
    for base in _bases(document, schema, _seen):
        merged = base | own
        types = merged.get("type")
        if not isinstance(types, list):
            yield merged
        else:
            for one in types:
                yield merged | {"type": one}


def _bases(document: Mapping[str, Any], schema: Schema, seen: frozenset[str]) -> Iterator[Schema]:
    """What the schema's references and compositions contribute, without its own keywords."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = definition(document, reference.removeprefix(_LOCAL)) if reference.startswith(_LOCAL) else None
        if target is None or reference in seen:
            yield {}
        else:
            yield from alternatives(document, target, seen | {reference})
        return
    choices = [part for key in ("anyOf", "oneOf") for part in schema.get(key) or ()]
    merged: list[Schema] = [{}]
    for part in schema.get("allOf") or ():
        merged = [left | right for left in merged for right in alternatives(document, part, seen)][:MOST]
    if not choices:
        yield from merged
        return
    for choice in choices:
        for alternative in alternatives(document, choice, seen):
            for left in merged:
                yield left | alternative


class Text(msgspec.Struct, frozen=True):
    """A text in an input or output, and what the schemas of its place say that it is. Neither: they say nothing."""

    position: Position
    text: str
    may_be_file: bool
    may_be_other: bool


def texts(value: Any, document: Mapping[str, Any] | None, name: str, position: Position = ()) -> Iterator[Text]:
    """Every text of a value, however deep, in the value's order.

    ``name`` is the definition that the whole follows, and ``position`` is where in the whole the value is.
    """
    document = document or {}
    schemas = list(alternatives(document, definition(document, name) or {}))
    for step in position:
        schemas = _below(document, schemas, step)
    left = [(position, value, schemas)]
    while left:
        here, found, schemas = left.pop()
        if isinstance(found, str):
            yield _text(here, found, schemas)
        elif isinstance(found, list):
            items = _below(document, schemas, 0)
            inside = [((*here, step), item, items) for step, item in enumerate(found) if isinstance(item, _HOLDERS)]
            left += reversed(inside)
        elif isinstance(found, dict):
            left += [((*here, key), item, _below(document, schemas, key)) for key, item in reversed(found.items())]


def _text(position: Position, text: str, schemas: list[Schema]) -> Text:
    is_file = [one.get("format") == "uri" for one in schemas]
    is_other = [one.get("type") == "string" and one.get("format") != "uri" for one in schemas]
    return Text(position, text, any(is_file), any(is_other))


def _below(document: Mapping[str, Any], schemas: list[Schema], step: str | int) -> list[Schema]:
    """The schemas of a list's items, or of an object's member. Of very many the first: they multiply at each step."""

    def every() -> Iterator[Schema]:
        for one in schemas:
            if isinstance(step, int):
                found = one.get("items")
            else:
                found = (one.get("properties") or {}).get(step, one.get("additionalProperties"))
            if isinstance(found, dict):
                yield from alternatives(document, found)

    return list(islice(every(), MOST))


def is_sound(document: Any) -> bool:
    """Whether the document has the form that its readers count on. A model's author may have written anything."""
    schemas = document.get("components", {}).get("schemas") if isinstance(document, dict) else None
    return isinstance(schemas, dict) and all(_is_sound(schema, 0) for schema in schemas.values())


def _is_sound(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or depth > DEEPEST:
        return False
    properties = schema.get("properties", {})
    lists = [schema.get(key, []) for key in ("anyOf", "oneOf", "allOf")]
    if not isinstance(properties, dict) or not all(isinstance(each, list) for each in lists):
        return False
    if not isinstance(schema.get("enum", []), list) or not isinstance(schema.get("x-order", 0), int | float):
        return False
    if not isinstance(schema.get("required", []), list) or not isinstance(schema.get("type", ""), str | list):
        return False
    inside = [*properties.values(), *(part for each in lists for part in each)]
    inside += [schema[key] for key in ("items", "not") if key in schema]
    return all(_is_sound(part, depth + 1) for part in inside)


def json_schema(document: Mapping[str, Any], adapt: Callable[[Schema], Schema] = dict) -> dict[str, Any]:
    """The document with its schemas in the words of JSON Schema 2020-12, the only ones that validators know.

    What may be null becomes ``{"anyOf": [{"type": "null"}, ...]}``. ``adapt`` may change each schema on the way, after
    those inside it and before it may be null. Raises KeyError for a document without ``components.schemas``.
    """
    components = document["components"]
    schemas = {name: _json_schema(schema, adapt) for name, schema in components["schemas"].items()}
    return {**document, "components": {**components, "schemas": schemas}}


def _json_schema(schema: Any, adapt: Callable[[Schema], Schema]) -> Any:
    if not isinstance(schema, dict):
        return schema
    plain = {key: _inside(key, value, adapt) for key, value in schema.items() if key != "nullable"}
    for bound in ("minimum", "maximum"):  # beside them, 3.0 says with true or false whether they are exclusive
        exclusive = "exclusive" + bound.capitalize()
        if plain.get(exclusive) is True and bound in plain:
            plain[exclusive] = plain.pop(bound)
        elif isinstance(plain.get(exclusive), bool):
            del plain[exclusive]
    plain = adapt(plain)
    return {"anyOf": [_NULL, plain]} if schema.get("nullable") is True else plain


def _inside(key: str, value: Any, adapt: Callable[[Schema], Schema]) -> Any:
    """The value of a keyword, which may be schemas: everywhere else, as in a default, words mean themselves."""
    if key in _NAMED and isinstance(value, dict):
        return {name: _json_schema(schema, adapt) for name, schema in value.items()}
    if key in _SEVERAL and isinstance(value, list):
        return [_json_schema(schema, adapt) for schema in value]
    return _json_schema(value, adapt) if key in _ONE else value
