"""Checks an input against a model's schema. The messages are those of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.answer import InvalidField, RefusedError, additional, invalid, problem, required
from replicate_job.wire.openapi import Schema, compile_input, definition, json_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema_rs import Draft202012Validator, ValidationError

_MESSAGES = {
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
_ORDER = {"required": 0, "additional_property_not_allowed": 1}
"""The types of faults that come first, as in Replicate's responses. The other faults follow, by field name."""
_NAMES = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


class Validator:
    """Checks inputs against a model's ``openapi_schema``. An invalid part of the schema allows every value."""

    def __init__(self, document: Mapping[str, Any] | None, *, root: str = "input") -> None:
        """``root`` is the field of the body with the inputs; empty if the body itself is the inputs."""
        self._root = root
        self._validator = _compile(document) if document and definition(document, "Input") else None

    def check(self, inputs: dict[str, Any]) -> None:
        """Raise RefusedError with every fault of the inputs. Unknown names pass, as at Replicate."""
        if self._validator is None:
            return
        try:
            if self._validator.is_valid(inputs):
                return
            # A dictionary is a set that keeps the order.
            faults = {
                field: None for error in self._validator.iter_errors(inputs) for field in _explain(error, self._root)
            }
        except ValueError:
            raise RefusedError(problem(400, "The input has too many levels", "Bad request")) from None
        # If a field has the wrong type, its other faults only repeat that.
        mistyped = {fault.field for fault in faults if fault.type == "invalid_type"}
        fields = [fault for fault in faults if fault.type == "invalid_type" or fault.field not in mistyped]
        raise RefusedError(invalid(*sorted(fields, key=lambda field: (_ORDER.get(field.type, 2), field.field))))


def _compile(document: Mapping[str, Any]) -> Draft202012Validator | None:
    import jsonschema_rs  # noqa: PLC0415 - slow to import, and not needed to start a server

    def build(root: Schema) -> Draft202012Validator:
        # Offline: a schema, which anyone may have written, must not make this server fetch addresses.
        return jsonschema_rs.Draft202012Validator(
            root, formats={"uri": _is_file_url}, validate_formats=True, offline=True
        )

    return compile_input(json_schema(document, _without_one_of), build)


def _without_one_of(schema: Schema) -> Schema:
    """The schema with ``anyOf`` in place of ``oneOf``: a ``oneOf`` of integer and number would refuse 3."""
    return {"anyOf" if key == "oneOf" else key: value for key, value in schema.items()}


def _is_file_url(text: str) -> bool:
    """Whether a text is an http, https or data URL. The model would use any other text as a path on this machine."""
    return text.partition(":")[0].lower() in {"http", "https", "data"}


def _explain(error: ValidationError, root: str) -> Iterator[InvalidField]:
    where, kind, facts = _field(error, root), error.kind.name, error.kind.as_dict()
    match kind:
        case "anyOf":
            yield from _explain_union(where, facts["context"], root)
        case "required":
            yield required(facts["property"], where)
        case "additionalProperties":
            yield from map(additional, sorted(facts["unexpected"]))
        case "type":
            actual = _NAMES.get(type(error.instance), "object")
            expected = ", ".join(facts["types"])
            yield InvalidField("invalid_type", where, f"Invalid type. Expected: {expected}, given: {actual}")
        case "enum":
            options = ", ".join(msgspec.json.encode(option).decode() for option in facts["options"])
            bare = where.removeprefix("input.")
            yield InvalidField(kind, where, f"{bare} must be one of the following: {options}")
        case _:
            name, message = _MESSAGES.get(kind, (kind, ""))
            yield InvalidField(name, where, message.format_map(facts) or error.message)


def _explain_union(where: str, branches: Iterable[list[ValidationError]], root: str) -> Iterator[InvalidField]:
    """The faults of a value that fits no branch of a union.

    If the value's type fits one branch only, or all branches but one are ``null``, they are the faults of that branch.
    Otherwise it is one fault that lists the alternatives.
    """
    not_null = [branch for branch in branches if _expected_types(branch, where, root) != ["null"]]
    fitting = [branch for branch in not_null if not _expected_types(branch, where, root)] or not_null
    if len(fitting) == 1:
        for error in fitting[0]:
            yield from _explain(error, root)
    else:
        choices = dict.fromkeys(_choice(branch, where, root) for branch in fitting)
        yield InvalidField("number_any_of", where, f"Does not match any of: {', '.join(choices)}")


def _choice(branch: list[ValidationError], where: str, root: str) -> str:
    faults = (field.description for error in branch for field in _explain(error, root))
    return " or ".join(_expected_types(branch, where, root)) or " and ".join(faults)


def _expected_types(branch: list[ValidationError], where: str, root: str) -> list[str]:
    """The types that a branch expects if the value has another type; an empty list if the value's type fits."""
    mistyped = (error for error in branch if error.kind.name == "type" and _field(error, root) == where)
    return next((error.kind.as_dict()["types"] for error in mistyped), [])


def _field(error: ValidationError, root: str) -> str:
    return ".".join((*filter(None, [root]), *(str(step) for step in error.instance_path)))
