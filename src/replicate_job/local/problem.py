"""What this server refuses, in the words of Replicate's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.wire.openapi import json_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema_rs import ValidationError


class Refusal(Exception):  # noqa: N818 - it ends a request, and is no error of ours
    """``invalid_fields`` has ``{"type", "field", "description"}`` for each fault of an input."""

    def __init__(
        self, status: int, detail: str, title: str = "", invalid_fields: list[dict[str, str]] | None = None
    ) -> None:
        self.status = status
        body = {"title": title, "detail": detail, "status": status, "invalid_fields": invalid_fields}
        self.body: dict[str, Any] = {name: value for name, value in body.items() if value}
        super().__init__(detail)


def not_found() -> Refusal:
    return Refusal(404, "The requested resource could not be found.")


def invalid(fields: list[dict[str, str]]) -> Refusal:
    detail = "".join(f"- {field['field']}: {field['description']}\n" for field in fields)
    return Refusal(422, detail, "Input validation failed", fields)


def field(name: str, kind: str, description: str) -> dict[str, str]:
    return {"type": kind, "field": name, "description": description}


def check_input(given: dict[str, Any], document: dict[str, Any]) -> None:
    """Raise Refusal with every fault of an input. A name that the model does not have passes, as it does there."""
    import jsonschema_rs  # noqa: PLC0415 - not paid for by a server's start

    root = {"$ref": "#/components/schemas/Input", "components": json_schema(document)["components"]}
    validator = jsonschema_rs.Draft202012Validator(
        root, formats={"uri": _is_file_url}, validate_formats=True, offline=True
    )
    fields = [found for error in validator.iter_errors(given) for found in _explain(error)]
    if fields:
        raise invalid(sorted(fields, key=lambda found: found["field"]))


def _is_file_url(text: str) -> bool:
    """Anything else would reach the model as the path of a file on this machine."""
    return text.partition(":")[0].lower() in {"http", "https", "data"}


def _explain(error: ValidationError) -> Iterator[dict[str, str]]:
    kind, facts = error.kind.name, error.kind.as_dict()
    where = ".".join(("input", *(str(step) for step in error.instance_path)))
    match kind:
        case "anyOf":
            for branch in facts["context"][1:]:  # the first is null, see json_schema
                for inner in branch:
                    yield from _explain(inner)
        case "required":
            yield field(where, kind, f"{facts['property']} is required")
        case "type":
            yield field(
                where,
                "invalid_type",
                f"Invalid type. Expected: {', '.join(facts['types'])}, given: {_given(error.instance)}",
            )
        case "enum":
            options = ", ".join(msgspec.json.encode(option).decode() for option in facts["options"])
            yield field(where, kind, f"{where} must be one of the following: {options}")
        case "minimum":
            yield field(where, "number_gte", f"Must be greater than or equal to {facts['limit']}")
        case "maximum":
            yield field(where, "number_lte", f"Must be less than or equal to {facts['limit']}")
        case "format":
            yield field(where, kind, "Does not match format 'uri': an http, https or data URL is needed")
        case _:
            yield field(where, kind, error.message)


def _given(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")
