"""KEY=VALUE words, typed by the model's schema."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.inputs.pairs import parse_pairs
from replicate_job.inputs.schema import Checker

DOCUMENT = {
    "components": {
        "schemas": {
            "scheduler": {"enum": ["DDIM", "1"], "type": "string"},
            "Input": {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string"},
                    "maybe": {"type": "string", "nullable": True},
                    "n": {"type": "integer"},
                    "cfg": {"type": "number"},
                    "fast": {"type": "boolean"},
                    "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                    "scheduler": {"allOf": [{"$ref": "#/components/schemas/scheduler"}]},
                    "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    "numbers": {"type": "array", "items": {"type": "integer"}},
                    "words": {"type": "array", "items": {"type": "string"}, "nullable": True},
                    "images": {"type": "array", "items": {"type": "string", "format": "uri"}},
                    "image": {"type": "string", "format": "uri"},
                    "extra": {"type": "object"},
                    "any": {},
                },
            },
        }
    }
}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("prompt=a b", "a b"),
        ("prompt=", ""),
        ("prompt=42", "42"),
        ("prompt=null", "null"),
        ("prompt=a=b", "a=b"),
        ('prompt="quoted"', '"quoted"'),
        ("maybe=null", None),
        ("maybe=4", "4"),
        ("n=4", 4),
        ("n=-4", -4),
        ("n=+4", 4),
        ("n=007", 7),
        ("n=4.0", 4),
        ("n=1e3", 1000),
        ("n=4.5", "4.5"),
        ("n=lots", "lots"),
        ("n=1_000", "1_000"),
        ("n=٣", "٣"),
        ("n=1e300", "1e300"),
        ("n=123456789012345678901", 123456789012345678901),
        ("cfg=.5", 0.5),
        ("cfg=7", 7),
        ("cfg=1e999", "1e999"),
        ("cfg=nan", "nan"),
        ("fast=true", True),
        ("fast=False", False),
        ("fast=1", True),
        ("fast=No", False),
        ("fast=2", "2"),
        ("seed=null", None),
        ("seed=3", 3),
        ("scheduler=1", "1"),
        ("either=4", 4),
        ("either=four", "four"),
        ("numbers=[1,2]", [1, 2]),
        ("numbers=3", [3]),
        ("words=[oops", ["[oops"]),
        ("words=null", None),
        ('words=["a","b"]', ["a", "b"]),
        ('extra={"a":1}', {"a": 1}),
        ("extra=nope", "nope"),
        ("any=4", 4),
        ("any=four", "four"),
        ("unknown=4", 4),
    ],
)
def test_a_value_gets_its_type_from_the_schema(pair: str, value: Any) -> None:
    (parsed,) = parse_pairs([pair], DOCUMENT).values()

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a=4", 4),
        ("a=4.5", 4.5),
        ("a=true", True),
        ("a=null", None),
        ("a=[1]", [1]),
        ('a={"b":1}', {"b": 1}),
        ("a=a b", "a b"),
        ('a="4"', "4"),
        ("a=True", "True"),
        ("a=NaN", "NaN"),
        ("a=[", "["),
    ],
)
def test_without_a_schema_a_value_is_read_as_json_or_else_as_text(pair: str, value: Any) -> None:
    assert parse_pairs([pair]) == {"a": value}


def test_a_list_is_given_item_by_item() -> None:
    assert parse_pairs(["numbers=1", "numbers=2", "numbers=[3,4]"], DOCUMENT) == {"numbers": [1, 2, 3, 4]}


@pytest.mark.parametrize("document", [DOCUMENT, None])
def test_giving_a_single_value_twice_raises_an_error(document: dict[str, Any] | None) -> None:
    with pytest.raises(JobError, match=r"^n is given twice"):
        parse_pairs(["n=1", "n=2"], document)


def test_an_at_sign_in_a_value_is_read_as_plain_text() -> None:
    assert parse_pairs(["prompt=@a", "images=@b", "images=@c", "any=@@d"], DOCUMENT) == {
        "prompt": "@a",
        "images": ["@b", "@c"],
        "any": "@@d",
    }


def test_one_message_names_every_problem() -> None:
    with pytest.raises(JobError) as caught:
        parse_pairs(["prompt", "=x", "n=1", "n=2"], DOCUMENT)

    assert str(caught.value) == (
        "'prompt' is not KEY=VALUE; '=x' is not KEY=VALUE; "
        "n is given twice; a list without a schema is one JSON value, n='[…]'"
    )


def test_a_value_of_the_wrong_type_stays_text_and_the_check_reports_it() -> None:
    assert Checker(DOCUMENT).check(parse_pairs(["n=lots", "fast=2"], DOCUMENT)) == [
        'n: "lots" is not an integer',
        'fast: "2" is not true or false',
    ]


@given(st.text())
def test_text_reaches_a_text_input_unchanged(text: str) -> None:
    assert parse_pairs([f"prompt={text}"], DOCUMENT) == {"prompt": text}


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_printed_numbers_are_read_back(n: int, cfg: float, fast: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
    pairs = [f"n={n}", f"cfg={cfg!r}", f"fast={fast}"]

    assert parse_pairs(pairs, DOCUMENT) == {"n": n, "cfg": cfg, "fast": fast}


@given(
    st.dictionaries(st.text(min_size=1).filter(lambda name: "=" not in name), st.integers() | st.lists(st.booleans()))
)
def test_json_is_read_back_without_a_schema(values: dict[str, Any]) -> None:
    pairs = [f"{name}={msgspec.json.encode(value).decode()}" for name, value in values.items()]

    assert parse_pairs(pairs) == values
