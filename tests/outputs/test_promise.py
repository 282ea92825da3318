"""A success without the files that the schema promises is reported."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_job.outputs.promise import broken_promise

URI: dict[str, Any] = {"type": "string", "format": "uri"}
FILES: dict[str, Any] = {"type": "array", "items": URI}
MAYBE: dict[str, Any] = {"anyOf": [URI, {"type": "null"}]}
PAIR: dict[str, Any] = {
    "type": "object",
    "properties": {"image": URI, "caption": {"type": "string"}},
    "required": ["image"],
}
URL = "https://replicate.delivery/a.png"
DATA = "data:image/png;base64,aGk="


def document(output: dict[str, Any]) -> dict[str, Any]:
    return {
        "components": {
            "schemas": {"Output": output, "Tree": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}
        }
    }


@pytest.mark.parametrize(
    ("output", "schema", "where"),
    [
        (None, URI, "output is null"),
        ("", URI, "output is empty"),
        ("/tmp/out.png", URI, "output is no address"),  # noqa: S108 - a value from a model's output
        ("s3://bucket/out.png", URI, "output is no address"),
        (3, URI, "output is no address"),
        (None, FILES, "output is null"),
        ([], FILES, "output is empty"),
        ([URL, None], FILES, "output[1] is null"),
        ([URL, ""], FILES, "output[1] is empty"),
        (None, PAIR, "output is null"),
        ({"image": None, "caption": "x"}, PAIR, "output.image is null"),
        ({}, {"type": "object", "additionalProperties": URI}, "output is empty"),
        (
            {"a": [[]]},
            {"type": "object", "properties": {"a": {"type": "array", "items": FILES}}},
            "output.a[0] is empty",
        ),
        (None, {"anyOf": [URI, FILES]}, "output is null"),
    ],
)
def test_a_file_that_the_schema_promises_and_the_output_lacks_is_named(
    output: Any, schema: dict[str, Any], where: str
) -> None:
    assert broken_promise(output, document(schema)).endswith(where)


@pytest.mark.parametrize(
    ("output", "schema"),
    [
        (URL, URI),
        (DATA, URI),
        ([URL], FILES),
        (None, MAYBE),
        (None, URI | {"nullable": True}),
        ([URL, None], {"type": "array", "items": MAYBE}),
        (None, {"anyOf": [FILES, {"type": "null"}]}),
        ("text", {"anyOf": [URI, {"type": "string"}]}),
        ({"image": URL}, PAIR),
        ({"caption": "x"}, {"type": "object", "properties": {"image": URI}}),
        (None, {"type": "object", "properties": {"image": URI}}),
        (None, {"type": "string"}),
        ([], {"type": "array", "items": {"type": "string"}}),
        (None, {}),
        (None, {"type": "array"}),
        (None, {"$ref": "#/components/schemas/Tree"}),
        ([[[]]], {"$ref": "#/components/schemas/Tree"}),
        (None, {"$ref": "#/components/schemas/Output"}),
    ],
)
def test_a_file_that_the_schema_does_not_promise_is_not_reported_as_missing(
    output: Any, schema: dict[str, Any]
) -> None:
    assert broken_promise(output, document(schema)) == ""
    assert broken_promise(output, None) == ""
