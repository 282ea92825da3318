from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from replicate_job.serving.answer import RefusedError
from replicate_job.serving.validation import Validator

TEXT: dict[str, Any] = {"type": "string"}
NULL: dict[str, Any] = {"type": "null"}
ENUM = {"enum": ["s", "m"], "type": "string"}


def document(schema: dict[str, Any], *required: str) -> dict[str, Any]:
    made = {"type": "object", "properties": {"x": schema}, "required": list(required)}
    return {"openapi": "3.0.2", "components": {"schemas": {"Input": made, "size": ENUM}}}


def faults(schema: dict[str, Any], value: Any) -> list[tuple[str, str, str]]:
    """The descriptions of the errors in ``x``."""
    try:
        Validator(document(schema)).check({"x": value})
    except RefusedError as refused:
        body = msgspec.json.decode(refused.answer.body)
        told = [(each["type"], each["field"], each["description"]) for each in body["invalid_fields"]]
        assert body["detail"] == "".join(f"- {field}: {description}\n" for _, field, description in told)
        return told
    return []


@pytest.mark.parametrize(
    ("schema", "value", "kind", "description"),
    [
        (TEXT, 3, "invalid_type", "Invalid type. Expected: string, given: integer"),
        ({"type": "integer"}, True, "invalid_type", "Invalid type. Expected: integer, given: boolean"),
        ({"type": "number"}, None, "invalid_type", "Invalid type. Expected: number, given: null"),
        ({"type": "array"}, {}, "invalid_type", "Invalid type. Expected: array, given: object"),
        ({"type": "integer", "minimum": 1}, 0, "number_gte", "Must be greater than or equal to 1"),
        ({"type": "number", "maximum": 1.5}, 2, "number_lte", "Must be less than or equal to 1.5"),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, 1, "number_gt", "Must be greater than 1"),
        ({"type": "number", "exclusiveMaximum": 1}, 1, "number_lt", "Must be less than 1"),
        ({"type": "integer", "multipleOf": 8}, 9, "multiple_of", "Must be a multiple of 8"),
        (ENUM, "xl", "enum", 'x must be one of the following: "s", "m"'),
        ({**TEXT, "minLength": 2}, "a", "string_gte", "String length must be greater than or equal to 2"),
        ({**TEXT, "maxLength": 2}, "abc", "string_lte", "String length must be less than or equal to 2"),
        ({**TEXT, "pattern": "^a"}, "b", "pattern", "Does not match pattern '^a'"),
        ({"type": "array", "minItems": 1}, [], "array_min_items", "Array must have at least 1 items"),
        ({"type": "array", "maxItems": 1}, [1, 2], "array_max_items", "Array must have at most 1 items"),
    ],
)
def test_a_fault_has_the_apis_message(schema: dict[str, Any], value: Any, kind: str, description: str) -> None:
    assert faults(schema, value) == [(kind, "input.x", description)]


@pytest.mark.parametrize("value", ["/etc/passwd", "file:///etc/passwd", "C:\\x"])
def test_a_file_input_must_be_an_http_https_or_data_url(value: str) -> None:
    schema = {**TEXT, "format": "uri"}
    ((kind, _, description),) = faults(schema, value)
    assert (kind, "an http, https or data URL" in description) == ("format", True)
    assert faults(schema, "HTTPS://example.com/a.png") == faults(schema, "data:,x") == []


@pytest.mark.parametrize(
    "schema",
    [
        {**TEXT, "maxLength": 2, "nullable": True},
        {"anyOf": [{**TEXT, "maxLength": 2}, NULL]},
        {"anyOf": [NULL, {**TEXT, "maxLength": 2}]},
        {"oneOf": [{"anyOf": [{**TEXT, "maxLength": 2}, NULL]}, NULL]},
    ],
)
def test_an_error_of_a_nullable_value_names_only_its_other_type(schema: dict[str, Any]) -> None:
    assert faults(schema, None) == faults(schema, "ab") == []
    assert [kind for kind, *_ in faults(schema, "abc")] == ["string_lte"]
    assert faults(schema, 3) == [("invalid_type", "input.x", "Invalid type. Expected: string, given: integer")]


def test_the_error_for_a_union_is_that_of_the_matching_alternative_or_lists_all_alternatives() -> None:
    schema = {"anyOf": [{"type": "integer", "maximum": 9}, ENUM, NULL]}
    assert faults(schema, 10) == [("number_lte", "input.x", "Must be less than or equal to 9")]
    assert faults(schema, "xl") == [("enum", "input.x", 'x must be one of the following: "s", "m"')]
    assert faults(schema, []) == [("number_any_of", "input.x", "Does not match any of: integer, string")]
    twice = {"anyOf": [{**TEXT, "pattern": "^a"}, {**TEXT, "minLength": 3}]}
    (told,) = faults(twice, "b")
    assert told[2] == (
        "Does not match any of: Does not match pattern '^a', String length must be greater than or equal to 3"
    )


def test_a_value_that_fits_two_alternatives_is_valid() -> None:
    assert faults({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 3) == []


def test_a_wrong_type_is_not_also_reported_as_a_wrong_choice() -> None:
    schema = {"allOf": [{"$ref": "#/components/schemas/size"}], "default": "s"}
    assert faults(schema, 3) == [("invalid_type", "input.x", "Invalid type. Expected: string, given: integer")]


def test_fields_inside_an_input_are_reported_by_name_and_number() -> None:
    schema = {"type": "array", "items": {"type": "object", "properties": {"a": TEXT}, "required": ["a", "b"]}}
    assert faults(schema, [{"a": "x", "b": 1}, {"a": 3}]) == [
        ("required", "input.x.1", "b is required"),
        ("invalid_type", "input.x.1.a", "Invalid type. Expected: string, given: integer"),
    ]


def test_every_error_is_reported_in_the_order_of_the_fields_and_unknown_names_pass() -> None:
    made = document(TEXT, "y")
    with pytest.raises(RefusedError) as caught:
        Validator(made).check({"x": 3, "z": 1})
    told = msgspec.json.decode(caught.value.answer.body)
    assert caught.value.answer.status == told["status"] == 422
    assert told["title"] == "Input validation failed"
    assert [each["field"] for each in told["invalid_fields"]] == ["input", "input.x"]
    assert told["detail"].startswith("- input: y is required\n- input.x: ")
    Validator(made).check({"x": "a", "y": None, "z": 1})


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"components": None},
        {"components": {"schemas": {"Output": {}}}},
        document({"type": "no such type"}),
        document({"$ref": "#/components/schemas/nowhere"}),
        document({"$ref": "https://example.com/schema.json"}),
        document({"type": "string", "pattern": "("}),
    ],
)
def test_without_a_valid_schema_every_input_is_accepted(schema: Any) -> None:
    Validator(schema).check({"x": 3})


def test_a_very_deeply_nested_input_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    with pytest.raises(RefusedError, match="too many levels"):
        Validator(document(TEXT)).check({"x": deep})


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
ALL = Validator(
    document(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "multipleOf": 3},
                {"type": "array", "items": {**TEXT, "format": "uri"}, "uniqueItems": True},
                {"type": "object", "additionalProperties": False, "properties": {"a": ENUM}},
            ],
            "nullable": True,
        }
    )
)


@given(ANY)
def test_any_json_passes_or_is_refused_with_descriptions(value: Any) -> None:
    told = []
    try:
        ALL.check({"x": value})
    except RefusedError as refused:
        told = msgspec.json.decode(refused.answer.body)["invalid_fields"]
        event("refused")
    assert all(field["description"] for field in told)
