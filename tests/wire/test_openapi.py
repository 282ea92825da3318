"""Reading a model's OpenAPI document."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_job.wire.openapi import json_schema

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
def test_the_words_of_openapi_3_0_become_those_of_json_schema(schema: Any, expected: Any) -> None:
    assert rewritten(schema) == expected
    assert rewritten(expected) == expected


def test_a_property_or_a_default_may_have_a_keywords_name() -> None:
    schema = {
        "properties": {"nullable": {"type": "boolean", "nullable": True}, "minimum": TEXT},
        "default": {"nullable": True},
        "enum": [{"nullable": True}],
    }

    assert rewritten(schema) == {
        **schema,
        "properties": {"nullable": {"anyOf": [NULL, {"type": "boolean"}]}, "minimum": TEXT},
    }


def test_the_rest_of_the_document_and_the_document_itself_stay() -> None:
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


def test_every_schema_can_be_adapted_before_it_may_be_null() -> None:
    schema = {"items": {**TEXT, "nullable": True}, "type": "array"}

    assert rewritten(schema, adapt=lambda part: {**part, "title": part["type"]}) == {
        "items": {"anyOf": [NULL, {**TEXT, "title": "string"}]},
        "type": "array",
        "title": "array",
    }
