"""What the API refuses in an input: the checks it is known to make, in the words it is known to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.testing.answers import Answer, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}


def refuse(schema: dict[str, Any], given: dict[str, Any]) -> Answer | None:
    """422 with every problem, or None. Inputs that the schema does not name pass, as many models ignore them."""
    fields = list(_problems(schema["components"]["schemas"], given))
    if not fields:
        return None
    detail = "".join(f"- {field['field']}: {field['description']}\n" for field in fields)
    return problem(422, detail, "Input validation failed", invalid_fields=fields)


def _problems(schemas: dict[str, Any], given: dict[str, Any]) -> Iterator[dict[str, str]]:
    known = schemas["Input"]
    for name in known.get("required", ()):
        if name not in given:
            yield {"type": "required", "field": "input", "description": f"{name} is required"}
    for name, value in given.items():
        facts = dict(known["properties"].get(name, {}))
        for reference in facts.get("allOf", ()):
            facts |= schemas[reference["$ref"].rpartition("/")[2]]
        for kind, description in _faults(facts, value):
            yield {"type": kind, "field": f"input.{name}", "description": description}


def _faults(facts: dict[str, Any], value: Any) -> Iterator[tuple[str, str]]:
    types = _TYPES.get(facts.get("type", ""))
    if types and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
        yield "invalid_type", f"Invalid type. Expected: {facts['type']}"
    elif "enum" in facts and value not in facts["enum"]:
        choices = ", ".join(msgspec.json.encode(choice).decode() for choice in facts["enum"])
        yield "enum", f"must be one of the following: {choices}"
    elif "maximum" in facts and value > facts["maximum"]:
        yield "number_lte", f"Must be less than or equal to {facts['maximum']}"
    elif "minimum" in facts and value < facts["minimum"]:
        yield "number_gte", f"Must be greater than or equal to {facts['minimum']}"
