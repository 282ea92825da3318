"""Reading a model's OpenAPI document."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_job.wire.openapi import MOST, Text, alternatives, json_schema, mend, texts

NULL = {"type": "null"}
TEXT = {"type": "string"}


def rewritten(schema: Any, **options: Any) -> Any:
    return json_schema({"components": {"schemas": {"Input": schema}}}, **options)["components"]["schemas"]["Input"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({**TEXT, "nullable": True}, {"anyOf": [NULL, TEXT]}),
        ({**TEXT, "nullable": False}, TEXT),
        ({"items": {**TEXT, "nullable": True}}, {"items": {"anyOf": [NULL, TEXT]}}),
        ({"anyOf": [{**TEXT, "nullable": True}]}, {"anyOf": [{"anyOf": [NULL, TEXT]}]}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"minimum": 0, "exclusiveMinimum": True}, {"exclusiveMinimum": 0}),
        ({"maximum": 0, "exclusiveMaximum": False}, {"maximum": 0}),
        ({"exclusiveMinimum": 2}, {"exclusiveMinimum": 2}),
        ({"exclusiveMaximum": True}, {}),
    ],
)
def test_openapi_3_0_keywords_become_json_schema_keywords(schema: Any, expected: Any) -> None:
    assert rewritten(schema) == expected
    assert rewritten(expected) == expected


def test_names_of_properties_and_values_of_defaults_are_not_translated() -> None:
    schema = {
        "properties": {"nullable": {"type": "boolean", "nullable": True}, "minimum": TEXT},
        "default": {"nullable": True},
        "enum": [{"nullable": True}],
    }

    assert rewritten(schema) == {
        **schema,
        "properties": {"nullable": {"anyOf": [NULL, {"type": "boolean"}]}, "minimum": TEXT},
    }


def test_the_function_json_schema_changes_only_schemas_and_only_in_a_copy() -> None:
    document = {
        "openapi": "3.0.2",
        "components": {"schemas": {"Output": {**TEXT, "nullable": True}}, "examples": {}},
        "paths": {"/": {"nullable": True}},
    }

    assert json_schema(document) == {
        **document,
        "components": {"schemas": {"Output": {"anyOf": [NULL, TEXT]}}, "examples": {}},
    }
    assert document["components"] == {"schemas": {"Output": {**TEXT, "nullable": True}}, "examples": {}}


def test_every_schema_is_repaired_before_nullable_is_translated() -> None:
    schema = {"items": {**TEXT, "nullable": True}, "type": "array"}

    assert rewritten(schema, adapt=lambda part: {**part, "title": part["type"]}) == {
        "items": {"anyOf": [NULL, {**TEXT, "title": "string"}]},
        "type": "array",
        "title": "array",
    }


@pytest.mark.parametrize(
    ("schema", "mended", "faults"),
    [
        (None, {}, ["Input"]),
        ({"properties": []}, {}, ["Input"]),
        ({"properties": {"a": None, "b": TEXT}}, {"properties": {"a": {}, "b": TEXT}}, ["Input.a"]),
        ({"properties": {"a": {"enum": 3, **TEXT}}}, {"properties": {"a": TEXT}}, ["Input.a"]),
        ({"properties": {"a": {"anyOf": 3}}}, {"properties": {"a": {}}}, ["Input.a"]),
        ({"properties": {"a": {"anyOf": [3, TEXT]}}}, {"properties": {"a": {"anyOf": [{}, TEXT]}}}, ["Input.a"]),
        ({"properties": {"a": {"items": {"not": 3}}}}, {"properties": {"a": {"items": {}}}}, ["Input.a"]),
        ({"properties": {"a": {"x-order": None}}}, {"properties": {"a": {}}}, ["Input.a"]),
        ({"required": True, "properties": {"a": TEXT}}, {"properties": {"a": TEXT}}, ["Input"]),
        ({"type": "array", "items": 3}, {"type": "array", "items": {}}, ["Input"]),
        ({"properties": {"items": TEXT}, "enum": [1]}, {"properties": {"items": TEXT}, "enum": [1]}, []),
    ],
)
def test_a_malformed_schema_becomes_one_that_allows_anything(schema: Any, mended: Any, faults: list[str]) -> None:
    document = {"openapi": "3.0.2", "components": {"schemas": {"Input": schema, "Output": TEXT}, "more": 1}}
    found = {"openapi": "3.0.2", "components": {"schemas": {"Input": mended, "Output": TEXT}, "more": 1}}
    assert mend(document) == (found, faults)
    assert mend(found) == (found, [])


@pytest.mark.parametrize("document", [None, [], {}, {"components": 3}, {"components": {"schemas": []}}])
def test_a_document_without_schemas_is_none_after_repair(document: Any) -> None:
    assert mend(document) == (None, [])


def test_at_most_64_alternatives_of_multiplying_references_are_read() -> None:
    def twice(name: str) -> dict[str, Any]:
        return {"anyOf": [{"$ref": f"#/components/schemas/{name}"}] * 2}

    schemas = {f"S{number}": twice(f"S{number + 1}") for number in range(60)} | {"S60": {"type": "string"}}
    document = {"components": {"schemas": schemas}}
    assert mend(document) == (document, [])
    assert len(list(alternatives(document, schemas["S0"]))) == MOST


def test_every_text_in_an_output_is_found_in_order_with_its_schemas() -> None:
    file = TEXT | {"format": "uri"}
    made = {
        "title": TEXT,
        "pictures": {"type": "array", "items": {"$ref": "#/components/schemas/Picture"}},
        "either": {"anyOf": [file, TEXT]},
    }
    document = {"components": {"schemas": {"Output": {"type": "object", "properties": made}, "Picture": file}}}
    value = {"pictures": ["a", None, "b"], "title": "c", "either": "d", "more": [{"deep": "e"}], "none": 5}

    assert list(texts(value, document, "Output")) == [
        Text(("pictures", 0), "a", may_be_file=True, may_be_other=False),
        Text(("pictures", 2), "b", may_be_file=True, may_be_other=False),
        Text(("title",), "c", may_be_file=False, may_be_other=True),
        Text(("either",), "d", may_be_file=True, may_be_other=True),
        Text(("more", 0, "deep"), "e", may_be_file=False, may_be_other=False),
    ]
    assert list(texts("a", document, "Output", ("pictures", 7))) == [
        Text(("pictures", 7), "a", may_be_file=True, may_be_other=False)
    ]
    assert list(texts("a", None, "Output")) == [Text((), "a", may_be_file=False, may_be_other=False)]


def test_texts_are_found_in_values_nested_beyond_the_recursion_limit() -> None:
    value: Any = "a"
    for _ in range(5000):
        value = [value]

    assert [len(text.position) for text in texts(value, {}, "Output")] == [5000]


def test_at_most_64_schemas_are_followed_at_each_level_of_a_value() -> None:
    again = {"type": "array", "items": {"$ref": "#/components/schemas/Output"}}
    schema = {"anyOf": [TEXT | {"format": "uri"}, again, again]}
    value: Any = "a"
    for _ in range(100):
        value = [value]

    [text] = texts(value, {"components": {"schemas": {"Output": schema}}}, "Output")
    assert text.may_be_file
