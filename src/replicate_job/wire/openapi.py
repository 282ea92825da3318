"""Reading a model's OpenAPI document: what its input and output may be.

Cog writes OpenAPI 3.0 (``nullable: true``, enums as ``allOf: [{"$ref": …}]``); newer documents use the 3.1 forms
(``type: ["string", "null"]``, ``anyOf`` with ``{"type": "null"}``). Both are read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = dict[str, Any]

_LOCAL = "#/components/schemas/"
_NULL: Schema = {"type": "null"}


def definition(document: Mapping[str, Any] | None, name: str) -> Schema | None:
    """``components.schemas.<name>``; None where the document has none."""
    found: Any = document
    for key in ("components", "schemas", name):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def alternatives(document: Mapping[str, Any], schema: Any, _seen: frozenset[str] = frozenset()) -> Iterator[Schema]:
    """The plain schemas that a value may follow, each with one ``type`` at most.

    References are followed, ``allOf`` is merged, ``anyOf``, ``oneOf``, lists of types and ``nullable`` are opened.
    A reference that leads nowhere, or back to itself, allows anything: ``{}``.
    """
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
        merged = [left | right for left in merged for right in alternatives(document, part, seen)]
    if not choices:
        yield from merged
        return
    for choice in choices:
        for alternative in alternatives(document, choice, seen):
            for left in merged:
                yield left | alternative
