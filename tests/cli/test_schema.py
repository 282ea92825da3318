from __future__ import annotations

from typing import Any

import pytest

from replicate_job.cli.schema import describe
from replicate_job.testing import openapi_schema

FILE = {"type": "string", "format": "uri"}
PIECES = {
    "type": "array",
    "items": {"type": "string"},
    "x-cog-array-type": "iterator",
    "x-cog-array-display": "concatenate",
}


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"type": "string"}, "string"),
        (FILE, "file"),
        ({"type": "integer", "minimum": 1, "maximum": 4}, "integer 1..4"),
        ({"type": "number", "minimum": 0}, "number 0.."),
        ({"type": "integer", "maximum": 9}, "integer ..9"),
        ({"enum": ["webp", "png"]}, "webp | png"),
        ({"type": "array", "items": FILE}, "list of file"),
        (PIECES, "text, piece by piece"),
        ({"type": "string", "nullable": True}, "null or string"),
        ({"type": ["integer", "null"]}, "integer or null"),
        ({}, "any"),
        ({"type": "boolean", "default": False}, "boolean, default false"),
        ({"type": "string", "default": "a"}, 'string, default "a"'),
    ],
)
def test_an_input_is_described_by_its_type_bounds_and_default(facts: dict[str, Any], shown: str) -> None:
    lines = list(describe(openapi_schema({"x": facts})))
    assert lines == [f"x: {shown}", "-> string"]


def test_inputs_are_in_the_models_order_each_with_its_description_below() -> None:
    inputs = {
        "b": {"type": "string", "x-order": 1, "description": "Two\n  lines."},
        "a": {"type": "string", "x-order": 0},
    }
    lines = list(describe(openapi_schema(inputs, PIECES, required=["b"])))
    assert lines == ["a: string", "b: string, required", "    Two lines.", "-> text, piece by piece"]
