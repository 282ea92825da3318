"""Checking an input before it is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.inputs.schema import Checker
from replicate_job.wire.openapi import secret_inputs

FORMAT = {"title": "output_format", "description": "An enumeration.", "enum": ["webp", "jpg", "png"], "type": "string"}


def check(values: Mapping[str, Any], document: Mapping[str, Any] | None, *, allow_unknown: bool = False) -> list[str]:
    return Checker(document, secret_inputs(document)).check(values, allow_unknown=allow_unknown)


def document(properties: dict[str, Any], required: list[str] | None = None, **schemas: Any) -> dict[str, Any]:
    """A model's OpenAPI document, as Cog writes it."""
    schema: dict[str, Any] = {"type": "object", "title": "Input", "properties": properties}
    if required:
        schema["required"] = required
    return {"openapi": "3.0.2", "components": {"schemas": {"Input": schema, **schemas}}}


FLUX = document(
    {
        "prompt": {"type": "string", "title": "Prompt", "x-order": 0},
        "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
        "guidance": {"type": "number", "minimum": 0, "maximum": 10},
        "go_fast": {"type": "boolean", "default": True},
        "seed": {"type": "integer", "nullable": True},
        "image": {"type": "string", "format": "uri"},
        "images": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "output_format": {"allOf": [{"$ref": "#/components/schemas/output_format"}], "default": "webp", "x-order": 5},
    },
    ["prompt"],
    output_format=FORMAT,
)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"prompt": "x", "output_format": "gif"}, 'output_format: "gif" is not one of webp, jpg, png'),
        (
            {"prompt": "x", "output_format": "jpeg"},
            'output_format: "jpeg" is not one of webp, jpg, png; did you mean jpg?',
        ),
        ({}, "prompt is required"),
        ({"prompt": 4}, "prompt: 4 is not a string"),
        ({"prompt": "x", "num_outputs": 9}, "num_outputs: 9 is above the maximum of 4"),
        ({"prompt": "x", "num_outputs": 0}, "num_outputs: 0 is below the minimum of 1"),
        ({"prompt": "x", "num_outputs": 1.5}, "num_outputs: 1.5 is not an integer"),
        ({"prompt": "x", "num_outputs": None}, "num_outputs: null is not an integer"),
        ({"prompt": "x", "guidance": "lots"}, 'guidance: "lots" is not a number'),
        ({"prompt": "x", "go_fast": "yes"}, 'go_fast: "yes" is not true or false'),
        ({"prompt": "x", "seed": "lucky"}, 'seed: "lucky" is not an integer'),
        ({"prompt": "x", "promt": "y"}, "promt is not an input of this model, did you mean prompt?"),
        ({"prompt": "x", "images": ["https://a/b", 3]}, "images[1]: 3 is not a string"),
        ({"prompt": "x", "images": "https://a/b"}, 'images: "https://a/b" is not a list'),
        ({"prompt": Path("words.txt")}, "prompt: takes no file, and words.txt is one"),
        ({"prompt": "x", "num_outputs": Path("n.txt")}, "num_outputs: takes no file, and n.txt is one"),
        ({"prompt": "x", "output_format": Path("a.webp")}, "output_format: takes no file, and a.webp is one"),
        ({"prompt": "a\udcff"}, "prompt: 'a\\udcff' is not valid Unicode"),
        ({"prompt": "x", "guidance": float("nan")}, "guidance: nan is not a number that JSON can carry"),
        (
            {"prompt": "x", "image": "cat.png"},
            'image: "cat.png" is neither an http(s) nor a data URL; a local file is @path (in Python a pathlib.Path)',
        ),
        *[
            ({"prompt": "x", "image": text}, f'image: "{text}" {problem}')
            for text, problem in (
                ("https://", "names no host"),
                ("https:///a.png", "names no host"),
                ("http:a.png", "names no host"),
                ("https://a/x y.png", "has blanks, which a URL has as %20"),
                ("https://a/x.png ", "has blanks, which a URL has as %20"),
                ("https://a/x.png https://a/y.png", "holds several URLs, and this input takes one"),
                ("https://a/x.png,https://a/y.png", "holds several URLs, and this input takes one"),
                ("https://a/x.png|HTTPS://a/y.png", "holds several URLs, and this input takes one"),
                ("data:", "is a data URL without data"),
            )
        ],
        (
            {"prompt": "x", "images": ["https://a/x.png", "https://"]},
            'images[1]: "https://" names no host',
        ),
        (
            {"prompt": datetime(2025, 1, 1, tzinfo=UTC)},
            "prompt: a datetime is not a JSON value; a file is a pathlib.Path, an open file or bytes",
        ),
    ],
)
def test_a_problem_is_one_line_that_names_the_input(values: dict[str, Any], problem: str) -> None:
    assert check(values, FLUX) == [problem]


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "x"},
        {"prompt": "", "num_outputs": 4.0, "guidance": 10, "seed": None, "go_fast": False, "output_format": "png"},
        {"prompt": "x", "image": Path("cat.png"), "images": [Path("a.png"), "https://example.com/b.png"]},
        {"prompt": "x", "image": "data:image/png;base64,aGk=", "images": ("HTTP://example.com/b",)},
        {"prompt": "https://example.com is text here"},
        {"prompt": "x", "image": "https://me:secret@host:80/fetch/https://other/a.png?u=https://x"},
        {"prompt": "x", "image": "http://127.0.0.1:5000/a,b;c|d.png"},
        {"prompt": "x", "image": "https://[::1]/é.png"},
    ],
)
def test_a_valid_input_has_no_problem(values: dict[str, Any]) -> None:
    assert check(values, FLUX) == []


def test_all_problems_are_reported_together() -> None:
    names = FLUX["components"]["schemas"]["Input"]["properties"]
    problems = check({"num_outputs": 0, "guidance": 11, "nonsense": 1, "images": [1, 2]}, FLUX)

    assert sorted(problems) == [
        "guidance: 11 is above the maximum of 10",
        "images[0]: 1 is not a string",
        "images[1]: 2 is not a string",
        f"nonsense is not an input of this model, which takes {', '.join(names)}",
        "num_outputs: 0 is below the minimum of 1",
        "prompt is required",
    ]


def test_allowing_unknown_names_hides_no_other_problem() -> None:
    assert check({"hidden": 1, "num_outputs": 0}, FLUX, allow_unknown=True) == [
        "prompt is required",
        "num_outputs: 0 is below the minimum of 1",
    ]


def test_a_mistyped_name_is_refused_even_if_unknown_names_are_allowed() -> None:
    said = ["go_fats is not an input of this model, did you mean go_fast?"]

    assert check({"prompt": "x", "go_fats": True}, FLUX, allow_unknown=True) == said
    assert check({"prompt": "x", "prompt_2": "y"}, FLUX, allow_unknown=True) == []


def test_an_unknown_name_is_one_line_even_if_the_schema_forbids_it_too() -> None:
    strict = document({"n": {"type": "integer"}})
    strict["components"]["schemas"]["Input"]["additionalProperties"] = False

    assert check({"m": 1}, strict) == ["m is not an input of this model, which takes n"]
    assert check({"m": 1}, strict, allow_unknown=True) == []


def test_the_properties_of_objects_are_checked() -> None:
    schema = document(
        {
            "size": {
                "type": "object",
                "properties": {"width": {"type": "integer", "multipleOf": 8}},
                "required": ["width", "height"],
            }
        }
    )

    assert check({"size": {"width": 7}}, schema) == ["size.height is required", "size.width: 7 is not a multiple of 8"]


def test_an_input_may_have_the_name_of_a_schema_keyword() -> None:
    schema = document({"format": {"type": "string"}, "nullable": {"type": "boolean"}, "default": {"type": "integer"}})

    assert check({"format": "uri", "nullable": True, "default": 3}, schema) == []
    assert check({"default": "x"}, schema) == ['default: "x" is not an integer']


@pytest.mark.parametrize(
    ("bounds", "problem"),
    [
        ({"minimum": 0, "exclusiveMinimum": True}, ["x: 0 is not above 0"]),
        ({"exclusiveMinimum": 0}, ["x: 0 is not above 0"]),
        ({"minimum": 0, "exclusiveMinimum": False}, []),
        ({"maximum": 0, "exclusiveMaximum": True}, ["x: 0 is not below 0"]),
    ],
)
def test_exclusive_bounds_are_read_in_the_old_and_the_new_dialect(bounds: dict[str, Any], problem: list[str]) -> None:
    assert check({"x": 0}, document({"x": {"type": "number", **bounds}})) == problem


@pytest.mark.parametrize(
    "seed",
    [
        {"type": "integer", "nullable": True, "minimum": 0},
        {"type": ["integer", "null"], "minimum": 0},
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
    ],
)
def test_each_form_of_nullable_is_understood(seed: dict[str, Any]) -> None:
    schema = document({"seed": seed})

    assert check({"seed": None}, schema) == []
    assert check({"seed": -1}, schema) == ["seed: -1 is below the minimum of 0"]


def test_a_nullable_choice_lists_its_choices() -> None:
    schema = document({"f": {"allOf": [{"$ref": "#/components/schemas/f"}], "nullable": True}}, f=FORMAT)

    assert check({"f": None}, schema) == []
    assert check({"f": "gif"}, schema) == ['f: "gif" is not one of webp, jpg, png']


def test_the_error_of_a_union_lists_every_alternative() -> None:
    schema = document({"x": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 2}]}})

    assert check({"x": []}, schema) == ["x: [] is not an integer, and [] is not a string"]
    assert check({"x": "long"}, schema) == ["x: is longer than 2 characters"]


def test_a_file_is_valid_where_any_alternative_accepts_a_file() -> None:
    schema = document({"x": {"anyOf": [{"type": "string"}, {"type": "string", "format": "uri"}]}, "any": {}})

    assert check({"x": Path("a.png"), "any": [Path("b.png")]}, schema) == []


def test_a_very_long_value_is_cut_in_the_message() -> None:
    (problem,) = check({"prompt": "x", "output_format": "data:image/png;base64," + "A" * 100_000}, FLUX)

    assert len(problem) < 150
    assert "\n" not in problem


@pytest.mark.parametrize(
    "broken",
    [
        {"$ref": "#/components/schemas/missing"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"type": "string", "pattern": "("},
        {"type": "wat"},
    ],
)
def test_only_the_api_checks_an_input_with_a_broken_schema(broken: dict[str, Any]) -> None:
    assert check({"x": 1}, document({"x": broken})) == []
    assert check({"xx": 1}, document({"x": broken})) == ["xx is not an input of this model, did you mean x?"]
    assert check({"x": 1, "n": "many"}, document({"x": broken, "n": {"type": "integer"}})) == [
        'n: "many" is not an integer'
    ]


def test_a_broken_definition_affects_only_the_inputs_that_refer_to_it() -> None:
    found = document({"n": {"type": "integer"}, "x": {"allOf": [{"$ref": "#/components/schemas/x"}]}})
    found["components"]["schemas"]["x"] = {"type": "wat"}
    found["components"]["schemas"]["Input"]["required"] = ["n"]
    assert check({"x": 1}, found) == ["n is required"]
    found["components"]["schemas"]["Input"]["required"] = [1]
    assert check({"n": "many", "x": 1}, found) == ['n: "many" is not an integer']


@pytest.mark.parametrize("properties", [5, [1], "a", None, True])
def test_inputs_that_are_no_object_are_not_checked(properties: Any) -> None:
    found = document({})
    found["components"]["schemas"]["Input"]["properties"] = properties
    assert check({"a": 1}, found) == []


@pytest.mark.parametrize("nothing", [None, {}, {"components": {}}, {"components": {"schemas": {"Output": {}}}}])
def test_without_an_input_schema_nothing_is_checked(nothing: dict[str, Any] | None) -> None:
    assert check({"anything": object()}, nothing) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FLUX["components"]["schemas"]["Input"]["properties"], "other"]), JSON))
def test_every_problem_of_any_json_input_is_one_line(values: dict[str, Any]) -> None:
    problems = check(values, FLUX)

    assert all(problem and problem.isprintable() for problem in problems)
    assert ("prompt is required" in problems) == ("prompt" not in values)


@given(n=st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_bounds_are_checked_exactly(n: float) -> None:
    schema = document({"n": {"type": "number", "minimum": -5, "maximum": 1000}})

    assert (check({"n": n}, schema) == []) == (-5 <= n <= 1000)


PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TYPED = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "integer", "number", "boolean", "array"])},
    optional={"default": JSON, "x-order": st.integers(), "maximum": st.integers(-2, 2), "maxLength": st.integers(0, 2)},
)
NAMED = st.sampled_from(["a", "b", "c"])


@given(properties=st.dictionaries(NAMED, TYPED), required=st.lists(NAMED, unique=True), data=st.data())
def test_an_input_fits_if_it_is_valid_json_schema(
    properties: dict[str, Any], required: list[str], data: st.DataObject
) -> None:
    values = data.draw(st.dictionaries(st.sampled_from(sorted(properties)), PLAIN_JSON)) if properties else {}
    schema = {"type": "object", "properties": properties, "required": required}

    fits = check(values, document(properties, required)) == []

    assert fits == jsonschema_rs.Draft202012Validator(schema).is_valid(values)


SECRETS = document(
    {
        "prompt": {"type": "string"},
        "api_key": {"type": "string", "format": "password", "enum": ["hush-a", "hush-b"]},
        "token": {"x-cog-secret": True, "anyOf": [{"type": "string", "pattern": "^r8_"}, {"type": "null"}]},
        "pair": {"type": "array", "writeOnly": True, "items": {"type": "string", "maxLength": 3}},
    }
)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"api_key": "hush"}, "api_key: the secret does not fit (enum)"),
        ({"token": "hush"}, "token: the secret does not fit (anyOf)"),
        ({"pair": ["a", "hush"]}, "pair: the secret does not fit (maxLength)"),
        ({"api_key": Path("key.txt")}, "api_key: takes no file, and key.txt is one"),
        ({"api_key": "hush\udcff"}, "api_key: the secret holds what JSON cannot carry"),
        ({"prompt": "\udcff"}, "prompt: '\\udcff' is not valid Unicode"),
    ],
)
def test_the_problem_of_a_secret_does_not_show_it(values: dict[str, Any], problem: str) -> None:
    assert check(values, SECRETS) == [problem]


@pytest.mark.parametrize(
    ("value", "meant"),
    [("17:9", "16:9"), ("3:5", "9:16"), ("100:1", "21:9"), ("wide", ""), ("16x9", "16:9"), ("0:9", "")],
)
def test_for_a_wrong_aspect_ratio_the_nearest_shape_is_suggested(value: str, meant: str) -> None:
    choices = {"type": "string", "enum": ["1:1", "16:9", "21:9", "2:3", "9:16"]}
    (said,) = check({"aspect_ratio": value}, document({"aspect_ratio": choices}))
    assert said.partition("; did you mean ")[2] == (f"{meant}?" if meant else "")
