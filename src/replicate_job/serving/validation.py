"""What the API refuses in an input, in the words it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.answer import InvalidField, RefusedError, invalid, problem, required
from replicate_job.wire.openapi import Schema, definition, json_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema_rs import Draft202012Validator, ValidationError

_SAYINGS = {
    "minimum": ("number_gte", "Must be greater than or equal to {limit}"),
    "maximum": ("number_lte", "Must be less than or equal to {limit}"),
    "exclusiveMinimum": ("number_gt", "Must be greater than {limit}"),
    "exclusiveMaximum": ("number_lt", "Must be less than {limit}"),
    "multipleOf": ("multiple_of", "Must be a multiple of {multiple_of}"),
    "minLength": ("string_gte", "String length must be greater than or equal to {limit}"),
    "maxLength": ("string_lte", "String length must be less than or equal to {limit}"),
    "pattern": ("pattern", "Does not match pattern '{pattern}'"),
    "format": ("format", "Does not match format '{format}': an http, https or data URL is needed"),
    "minItems": ("array_min_items", "Array must have at least {limit} items"),
    "maxItems": ("array_max_items", "Array must have at most {limit} items"),
}
_NAMES = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


class Validator:
    """Checks any number of inputs against a model's ``openapi_schema``. Without a sound one, everything passes."""

    def __init__(self, document: Mapping[str, Any] | None) -> None:
        self._validator = _compile(document) if document and definition(document, "Input") else None

    def check(self, given: dict[str, Any]) -> None:
        """Raise RefusedError with every fault of an input. A name that the model does not have passes, as there."""
        if self._validator is None:
            return
        try:
            if self._validator.is_valid(given):
                return
            found = {field: None for error in self._validator.iter_errors(given) for field in _explain(error)}
        except ValueError:
            raise RefusedError(problem(400, "The input has too many levels", "Bad request")) from None
        mistyped = {field.field for field in found if field.type == "invalid_type"}
        fields = [field for field in found if field.type == "invalid_type" or field.field not in mistyped]
        raise RefusedError(invalid(*sorted(fields, key=lambda field: field.field)))


def _compile(document: Mapping[str, Any]) -> Draft202012Validator | None:
    import jsonschema_rs  # noqa: PLC0415 - not paid for by a server's start

    components = json_schema(document, _without_one_of)["components"]
    root = {"$ref": "#/components/schemas/Input", "components": components}
    try:
        # offline: a schema comes from whoever wrote the model, and must not make us fetch anything.
        return jsonschema_rs.Draft202012Validator(
            root, formats={"uri": _is_file_url}, validate_formats=True, offline=True
        )
    except ValueError:
        return None


def _without_one_of(schema: Schema) -> Schema:
    """A value that two alternatives allow, as 3 is an integer and a number, is no mistake."""
    return {"anyOf" if key == "oneOf" else key: value for key, value in schema.items()}


def _is_file_url(text: str) -> bool:
    """Anything else would reach the model as the path of a file on the server."""
    return text.partition(":")[0].lower() in {"http", "https", "data"}


def _explain(error: ValidationError) -> Iterator[InvalidField]:
    where, kind, facts = _place(error), error.kind.name, error.kind.as_dict()
    match kind:
        case "anyOf":
            yield from _explain_union(where, facts["context"])
        case "required":
            yield required(facts["property"], where)
        case "type":
            given = _NAMES.get(type(error.instance), "object")
            expected = ", ".join(facts["types"])
            yield InvalidField("invalid_type", where, f"Invalid type. Expected: {expected}, given: {given}")
        case "enum":
            options = ", ".join(msgspec.json.encode(option).decode() for option in facts["options"])
            yield InvalidField(kind, where, f"{where} must be one of the following: {options}")
        case _:
            name, saying = _SAYINGS.get(kind, (kind, ""))
            yield InvalidField(name, where, saying.format_map(facts) or error.message)


def _explain_union(where: str, branches: Iterable[list[ValidationError]]) -> Iterator[InvalidField]:
    """The faults of the one branch that was meant, or one that says what there is to choose from."""
    real = [branch for branch in branches if _types(branch, where) != ["null"]]
    meant = [branch for branch in real if not _types(branch, where)] or real
    if len(meant) == 1:
        for error in meant[0]:
            yield from _explain(error)
    else:
        choices = dict.fromkeys(_choice(branch, where) for branch in meant)
        yield InvalidField("number_any_of", where, f"Does not match any of: {', '.join(choices)}")


def _choice(branch: list[ValidationError], where: str) -> str:
    found = (field.description for error in branch for field in _explain(error))
    return " or ".join(_types(branch, where)) or " and ".join(found)


def _types(branch: list[ValidationError], where: str) -> list[str]:
    """What a branch wants the whole value to be, where that is what the value is not."""
    mistyped = (error for error in branch if error.kind.name == "type" and _place(error) == where)
    return next((error.kind.as_dict()["types"] for error in mistyped), [])


def _place(error: ValidationError) -> str:
    return ".".join(("input", *(str(step) for step in error.instance_path)))
