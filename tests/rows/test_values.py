"""The model input of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.inputs.pairs import parse_pairs
from replicate_job.rows import InputReader, Row

DOCUMENT: dict[str, Any] = {
    "components": {
        "schemas": {
            "nested": {"type": "array", "items": {"$ref": "#/components/schemas/nested"}},
            "Input": {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string"},
                    "maybe": {"type": "string", "nullable": True},
                    "n": {"type": "integer"},
                    "cfg": {"type": "number"},
                    "fast": {"type": "boolean"},
                    "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    "words": {"type": "array", "items": {"type": "string"}},
                    "image": {"type": "string", "format": "uri"},
                    "choice": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
                    "images": {"type": "array", "items": {"type": "string", "format": "uri"}},
                    "extra": {"type": "object"},
                    "nested": {"$ref": "#/components/schemas/nested"},
                    "any": {},
                },
            },
        }
    }
}


@pytest.fixture(autouse=True)
def cat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file ``cat.png`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("cat.png").write_bytes(b"x")
    return Path("cat.png")


def _cell(name: str, text: str, document: dict[str, Any] | None = DOCUMENT) -> dict[str, Any]:
    return InputReader(document, typed=False)(Row(2, {name: text}))


def _value(name: str, value: Any, document: dict[str, Any] | None = DOCUMENT) -> Any:
    return InputReader(document, typed=True)(Row(1, {name: value}))[name]


@pytest.mark.parametrize("document", [DOCUMENT, None])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("prompt", text) for text in ("a b", "42", "null", '"quoted"', "[1]")],
        *[("n", text) for text in ("4", "4.0", "1e3", "4.5", "lots", "nan")],
        *[("cfg", text) for text in (".5", "7", "1e999")],
        *[("fast", text) for text in ("true", "False", "1")],
        *[("maybe", text) for text in ("null", "4")],
        *[("words", text) for text in ("[oops", '["a","b"]', "a")],
        *[("nested", text) for text in ("[]", "a")],
        *[("extra", text) for text in ('{"a":1}', "nope")],
        *[(name, text) for name in ("any", "unknown") for text in ("4", "[1]", '"4"', "NaN", "[")],
    ],
)
def test_a_cell_is_read_as_the_word_key_value_is(name: str, text: str, document: dict[str, Any] | None) -> None:
    assert repr(_cell(name, text, document)) == repr(parse_pairs([f"{name}={text}"], document))


@given(st.sampled_from(list(DOCUMENT["components"]["schemas"]["Input"]["properties"])), st.text(min_size=1))
def test_a_cell_of_any_text_is_read_as_the_word_key_value_is(name: str, text: str) -> None:
    text = text.lstrip("@") or "x"  # words and cells know no @

    assert repr(_cell(name, text)) == repr(parse_pairs([f"{name}={text}"], DOCUMENT))


@pytest.mark.parametrize("name", ["prompt", "n", "images", "any"])
def test_an_empty_cell_is_an_input_that_is_not_given(name: str) -> None:
    assert _cell(name, "") == {}


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.floats(allow_nan=False) | st.lists(st.booleans())))
def test_values_with_types_stay_as_they_are(values: dict[str, Any]) -> None:
    assert InputReader(DOCUMENT, typed=True)(Row(1, values)) == values
    assert InputReader(None, typed=True)(Row(1, values)) == values


def test_text_with_a_type_is_text_and_an_empty_one_is_given() -> None:
    values = {"prompt": "", "n": "4", "extra": {"a": "@cat.png"}, "any": "4", "maybe": None}

    assert InputReader(DOCUMENT, typed=True)(Row(1, values)) == values


@pytest.mark.parametrize("typed", [True, False])
def test_every_at_sign_of_a_row_is_read(cat: Path, *, typed: bool) -> None:
    read = InputReader(DOCUMENT, typed=typed)(Row(1, {"image": "@cat.png", "prompt": "@cat.png", "maybe": "@@home"}))

    assert read == {"image": cat, "prompt": "x", "maybe": "@home"}


@pytest.mark.parametrize("typed", [True, False])
def test_every_file_that_is_not_there_is_in_the_one_message(*, typed: bool) -> None:
    with pytest.raises(JobError) as caught:
        InputReader(DOCUMENT, typed=typed)(Row(1, {"image": "@none.png", "prompt": "@x", "any": "@."}))

    assert str(caught.value) == (
        "image: there is no file 'none.png' (text that starts with @ is written @@…); "
        "any: . is not a file (text that starts with @ is written @@…)"
    )


def test_lists_without_end_are_read_as_they_are() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]

    assert _value("any", deep) is deep
    assert _value("nested", deep) is deep


def test_a_row_that_could_not_be_read_has_no_input() -> None:
    with pytest.raises(JobError, match=r"^broken JSON$"):
        InputReader(DOCUMENT, typed=True)(Row(3, {}, "broken JSON"))
