"""Reads a model's OpenAPI document: the schemas of its input and output.

Cog writes OpenAPI 3.0 (``nullable: true``, enums as ``allOf: [{"$ref": …}]``); newer documents use the 3.1 forms
(``type: ["string", "null"]``, ``anyOf`` with ``{"type": "null"}``). This module reads both forms.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_T = TypeVar("_T")
Schema = dict[str, Any]
Position = tuple[str | int, ...]
"""The keys and indexes that lead to a value: ``()`` for the whole input, ``("images", 0)`` for an item in it."""

_LOCAL = "#/components/schemas/"
_NULL: Schema = {"type": "null"}
MOST = 64
"""The most alternatives of one schema that are read, since references can multiply them without end."""
DEEPEST = 50
"""The most levels of schemas inside schemas."""
_ONE = {"items", "additionalProperties", "not"}
_SEVERAL = {"allOf", "anyOf", "oneOf"}
_NAMED = {"properties", "patternProperties"}
_FORMS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "enum", "required"), list),
    "properties": dict,
    "type": (str, list),
    "x-order": (int, float),
}
"""Maps a schema's keyword to the Python types that its value may have."""
_HOLDERS = (str, list, dict)  # types of values that are or contain texts; others (numbers, maybe millions) are skipped


def definition(document: Mapping[str, Any] | None, name: str) -> Schema | None:
    """``components.schemas.<name>``; None if the document lacks this schema."""
    found: Any = document
    for key in ("components", "schemas", name):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def training_schema(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The document with the schemas of a training as its ``Input`` and ``Output``; None without trainings."""
    given = definition(document, "TrainingInput")
    if document is None or given is None:
        return None
    schemas = {
        **document["components"]["schemas"],
        "Input": given,
        "Output": definition(document, "TrainingOutput") or {},
    }
    return {**document, "components": {**document["components"], "schemas": schemas}}


def secret_inputs(document: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Names of inputs that the API never returns: ``format: password``, ``writeOnly``, ``x-cog-secret``."""
    properties = (definition(document, "Input") or {}).get("properties")
    if document is None or not isinstance(properties, dict):
        return ()
    return tuple(name for name, schema in properties.items() if any(map(_is_secret, alternatives(document, schema))))


def _is_secret(schema: Schema) -> bool:
    return schema.get("format") == "password" or schema.get("writeOnly") is True or bool(schema.get("x-cog-secret"))


def alternatives(document: Mapping[str, Any], schema: Any, _seen: frozenset[str] = frozenset()) -> Iterator[Schema]:
    """The plain schemas that the schema allows, each with at most one ``type``. A value needs to fit only one of them.

    References are followed and ``allOf`` is merged. Each choice of ``anyOf``, ``oneOf``, ``nullable`` and a list of
    types becomes a schema of its own. A reference that leads nowhere, or back to itself, becomes ``{}``, which allows
    anything. Only the first ``MOST`` schemas are yielded.
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
    """The alternatives that ``$ref``, ``allOf``, ``anyOf`` and ``oneOf`` allow, without the schema's own keywords."""
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
    """A text in an input or output. By the schemas of its position, it may be a file, another text, or both.

    If both flags are False, the schemas say nothing about the text.
    """

    position: Position
    text: str
    may_be_file: bool
    may_be_other: bool


def texts(value: Any, document: Mapping[str, Any] | None, name: str, position: Position = ()) -> Iterator[Text]:
    """Every text in a value, at any depth, in the value's order.

    ``name`` is the definition of the whole input or output, and ``position`` is the value's position in it.
    """
    document = document or {}
    schemas = list(alternatives(document, definition(document, name) or {}))
    for step in position:
        schemas = below(document, schemas, step)
    left = [(position, value, schemas)]
    while left:
        here, found, schemas = left.pop()
        if isinstance(found, str):
            yield _text(here, found, schemas)
        elif isinstance(found, list):
            items = below(document, schemas, 0)
            inside = [((*here, step), item, items) for step, item in enumerate(found) if isinstance(item, _HOLDERS)]
            left += reversed(inside)
        elif isinstance(found, dict):
            left += [((*here, key), item, below(document, schemas, key)) for key, item in reversed(found.items())]


def _text(position: Position, text: str, schemas: list[Schema]) -> Text:
    is_file = [one.get("format") == "uri" for one in schemas]
    is_other = [one.get("type") == "string" and one.get("format") != "uri" for one in schemas]
    return Text(position, text, any(is_file), any(is_other))


def below(document: Mapping[str, Any], schemas: list[Schema], step: str | int) -> list[Schema]:
    """The schemas of a list's items if ``step`` is an index, else of the object's member ``step``.

    At most ``MOST`` schemas are returned, since each step can multiply them.
    """

    def every() -> Iterator[Schema]:
        for one in schemas:
            if isinstance(step, int):
                found = one.get("items")
            else:
                found = (one.get("properties") or {}).get(step, one.get("additionalProperties"))
            if isinstance(found, dict):
                yield from alternatives(document, found)

    return list(islice(every(), MOST))


def mend(document: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the document without its malformed parts, and the names of these parts, such as ``Input.seed``.

    A model's author may have written anything. A malformed schema is replaced by a schema that allows anything, and the
    other schemas stay. The document is None if it has no ``components.schemas``.
    """
    components = document.get("components") if isinstance(document, dict) else None
    schemas = components.get("schemas") if isinstance(components, dict) else None
    if not isinstance(components, dict) or not isinstance(schemas, dict):
        return None, []
    faults: list[str] = []
    mended = {name: _mend(schema, (name,), 0, faults) for name, schema in schemas.items()}
    return {**document, "components": {**components, "schemas": mended}} if faults else document, faults


def _mend(schema: Any, place: tuple[str, ...], depth: int, faults: list[str]) -> Schema:
    if not isinstance(schema, dict) or depth > DEEPEST:
        _note(faults, place)
        return {}
    mended: Schema = {}
    for key, value in schema.items():
        form = _FORMS.get(key)
        if (form and not isinstance(value, form)) or (key == "not" and not isinstance(value, dict)):
            _note(faults, place)
        elif key == "properties":
            mended[key] = {name: _mend(part, (*place, name), depth + 1, faults) for name, part in value.items()}
        elif key in _SEVERAL:
            mended[key] = [_mend(part, place, depth + 1, faults) for part in value]
        elif key in {"items", "not"}:
            mended[key] = _mend(value, place, depth + 1, faults)
        else:
            mended[key] = value
    return mended


def _note(faults: list[str], place: tuple[str, ...]) -> None:
    """Add the property, such as ``Input.seed``, to ``faults`` once, even if several parts of it are malformed."""
    if (name := ".".join(place[:2])) not in faults:
        faults.append(name)


def compile_input(document: Mapping[str, Any], build: Callable[[Schema], _T]) -> _T | None:
    """The result of ``build`` for the document's ``Input``; None if ``build`` refuses every form of the ``Input``.

    ``build`` raises ValueError for an invalid schema. Then the schema of each input is tried by itself, and an invalid
    schema is replaced by one that allows anything.
    """
    schemas = document["components"]["schemas"]

    def attempt(schema: Schema, inputs: Schema) -> _T | None:
        try:
            return build({**schema, "components": {"schemas": {**schemas, "Input": inputs}}})
        except ValueError:
            return None

    given, root = schemas["Input"], {"$ref": f"{_LOCAL}Input"}
    if (whole := attempt(root, given)) is not None:
        return whole
    found = given.get("properties")
    properties = found if isinstance(found, dict) else {}
    sound = {name: one if attempt({"allOf": [one]}, given) is not None else {} for name, one in properties.items()}
    inputs = attempt(root, {**given, "properties": sound})
    return attempt(root, {"properties": sound}) if inputs is None else inputs


def without_nullable(schema: Any) -> Any:
    """A copy of a document or schema without ``nullable``: optional inputs may be left out, but may not be null."""
    if isinstance(schema, list):
        return [without_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: without_nullable(value) for key, value in schema.items() if (key, value) != ("nullable", True)}


def json_schema(document: Mapping[str, Any], adapt: Callable[[Schema], Schema] = dict) -> dict[str, Any]:
    """The document with its schemas translated to JSON Schema 2020-12, which validators need.

    A nullable schema becomes ``{"anyOf": [{"type": "null"}, ...]}``. ``adapt`` may change each schema: it is called
    after the schemas inside that schema are translated, and before its own ``nullable`` is. Raises KeyError for a
    document without ``components.schemas``.
    """
    components = document["components"]
    schemas = {name: _json_schema(schema, adapt) for name, schema in components["schemas"].items()}
    return {**document, "components": {**components, "schemas": schemas}}


def _json_schema(schema: Any, adapt: Callable[[Schema], Schema]) -> Any:
    if not isinstance(schema, dict):
        return schema
    plain = {key: _inside(key, value, adapt) for key, value in schema.items() if key != "nullable"}
    for bound in ("minimum", "maximum"):  # in OpenAPI 3.0, "exclusiveMinimum" is true or false
        exclusive = "exclusive" + bound.capitalize()
        if plain.get(exclusive) is True and bound in plain:
            plain[exclusive] = plain.pop(bound)
        elif isinstance(plain.get(exclusive), bool):
            del plain[exclusive]
    plain = adapt(plain)
    return {"anyOf": [_NULL, plain]} if schema.get("nullable") is True else plain


def _inside(key: str, value: Any, adapt: Callable[[Schema], Schema]) -> Any:
    """The value of a keyword, with the schemas in it translated.

    The values of other keywords, such as ``default``, are unchanged.
    """
    if key in _NAMED and isinstance(value, dict):
        return {name: _json_schema(schema, adapt) for name, schema in value.items()}
    if key in _SEVERAL and isinstance(value, list):
        return [_json_schema(schema, adapt) for schema in value]
    return _json_schema(value, adapt) if key in _ONE else value
