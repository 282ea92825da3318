"""The model input of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.batches.rows import ColumnOptions, Header, Row, RowReader
from replicate_job.errors import JobError
from replicate_job.inputs.pairs import parse_pairs
from replicate_job.job import Job

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
                    "size": {"type": "string", "enum": ["1", "2"]},
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
    return _read({name: text}, document, typed=False)


def _value(name: str, value: Any, document: dict[str, Any] | None = DOCUMENT) -> Any:
    return _read({name: value}, document, typed=True)[name]


def _read(values: dict[str, Any], document: dict[str, Any] | None, *, typed: bool) -> dict[str, Any]:
    """The model input. The row also gets a known input, because a row without one is refused."""
    job = Job("acme/model", {"filler": 1}, allow_unknown=True)
    header = Header("rows", ["filler"])
    reader = RowReader(_with_filler(document), job, ColumnOptions(), header, typed=typed, within=[Path.cwd()])
    values = reader(Row(1, {"filler": "1" if not typed else 1, **values}))
    del values["filler"]
    return values


def _with_filler(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    schemas = document["components"]["schemas"]
    known = schemas["Input"] | {"properties": schemas["Input"]["properties"] | {"filler": {"type": "integer"}}}
    return {"components": {"schemas": schemas | {"Input": known}}}


@pytest.mark.parametrize("document", [DOCUMENT, None])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("prompt", text) for text in ("a b", "42", "null", '"quoted"', "[1]")],
        *[("n", text) for text in ("4", "4.0", "1e3", "4.5", "lots", "nan")],
        *[("cfg", text) for text in (".5", "7", "1e999")],
        *[("fast", text) for text in ("true", "False", "1", "Yes", "no", "0", "2")],
        *[("maybe", text) for text in ("null", "4")],
        *[("words", text) for text in ("[oops", '["a","b"]', "a")],
        *[("nested", text) for text in ("[]", "a")],
        *[("extra", text) for text in ('{"a":1}', "nope")],
        *[(name, text) for name in ("any", "unknown") for text in ("4", "[1]", '"4"', "NaN", "[")],
    ],
)
def test_a_cell_is_read_like_a_key_value_word(name: str, text: str, document: dict[str, Any] | None) -> None:
    assert repr(_cell(name, text, document)) == repr(parse_pairs([f"{name}={text}"], document))


@given(st.sampled_from(list(DOCUMENT["components"]["schemas"]["Input"]["properties"])), st.text(min_size=1))
def test_a_cell_of_any_text_is_read_like_a_key_value_word(name: str, text: str) -> None:
    text = text.strip().lstrip("@").strip() or "x"

    assert repr(_cell(name, text)) == repr(parse_pairs([f"{name}={text}"], DOCUMENT))


@pytest.mark.parametrize("name", ["prompt", "n", "images", "any"])
def test_an_empty_cell_gives_no_input(name: str) -> None:
    assert _cell(name, "") == {}


@pytest.mark.parametrize("name", ["prompt", "n", "fast", "image", "words", "any"])
def test_blanks_around_a_cell_are_ignored(name: str) -> None:
    assert _cell(name, " \t\n") == {}
    assert _cell(name, " yes ") == _cell(name, "yes")
    assert _cell(name, "\u00a04\n") == _cell(name, "4")


@given(st.dictionaries(st.sampled_from(["any", "x", "y"]), st.integers() | st.lists(st.booleans())))
def test_values_with_types_stay_as_they_are(values: dict[str, Any]) -> None:
    assert _read(values, DOCUMENT, typed=True) == values
    assert _read(values, None, typed=True) == values


def test_a_json_string_is_sent_as_text_even_if_it_is_empty() -> None:
    values = {"prompt": "", "either": "4", "extra": {"a": "@cat.png"}, "any": "4", "words": ["4"]}

    assert _read(values, DOCUMENT, typed=True) == values


@pytest.mark.parametrize("name", list(DOCUMENT["components"]["schemas"]["Input"]["properties"]))
@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_null_gives_no_input(name: str, value: Any) -> None:
    assert _read({name: value}, DOCUMENT, typed=True) == {}


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("n", "4", 4),
        ("n", " 4.0 ", 4),
        ("n", 4.0, 4),
        ("n", 4.5, 4.5),
        ("n", "lots", "lots"),
        ("n", True, True),
        ("cfg", "7.5", 7.5),
        ("cfg", 7, 7),
        ("fast", "yes", True),
        ("fast", 0, False),
        ("fast", 1.0, True),
        ("fast", 2, 2),
        ("prompt", 42, 42),
        ("prompt", True, True),
        ("prompt", ["a"], ["a"]),
        ("choice", " https://x ", "https://x"),
        ("size", 1, "1"),
        ("size", 1.0, "1"),
        ("either", 4, 4),
        ("words", "a", ["a"]),
        ("words", '["a","b"]', ["a", "b"]),
        ("images", "https://x", ["https://x"]),
        ("extra", '{"a":1}', {"a": 1}),
    ],
)
def test_a_value_of_another_type_is_converted_if_it_can_mean_only_one_value(name: str, value: Any, read: Any) -> None:
    result = _value(name, value)

    assert result == read
    assert type(result) is type(read)


@pytest.mark.parametrize("name", ["n", "fast", "image", "images", "extra"])
def test_an_empty_text_gives_no_value_for_an_input_that_does_not_accept_text(name: str) -> None:
    assert _read({name: " "}, DOCUMENT, typed=True) == {}


@pytest.mark.parametrize("typed", [True, False])
def test_every_value_of_a_row_that_starts_with_an_at_sign_is_read(cat: Path, *, typed: bool) -> None:
    read = _read({"image": "@cat.png", "prompt": "@cat.png", "maybe": "@@home"}, DOCUMENT, typed=typed)

    assert read == {"image": cat, "prompt": "x", "maybe": "@home"}


@pytest.mark.parametrize("typed", [True, False])
def test_one_message_names_every_missing_file(*, typed: bool) -> None:
    with pytest.raises(JobError) as caught:
        _read({"image": "@none.png", "prompt": "@x", "any": "@."}, DOCUMENT, typed=typed)

    assert str(caught.value) == (
        "image: there is no file 'none.png' (text that starts with @ is written @@…); "
        "any: . is not a file (text that starts with @ is written @@…)"
    )


def test_an_at_sign_is_text_in_rows_that_do_not_come_from_a_file() -> None:
    reader = RowReader(DOCUMENT, Job("acme/model"), ColumnOptions(), Header("rows"), typed=True)

    assert reader(Row(1, {"image": "@cat.png", "prompt": "@cat.png"})) == {"image": "@cat.png", "prompt": "@cat.png"}


def test_deeply_nested_lists_are_read_as_they_are() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]

    assert _value("any", deep) is deep
    assert _value("nested", deep) is deep


def test_a_row_that_could_not_be_read_has_no_input() -> None:
    with pytest.raises(JobError, match=r"^broken JSON$"):
        RowReader(DOCUMENT, Job("acme/model"), ColumnOptions(), Header("rows"), typed=True)(Row(3, {}, "broken JSON"))
