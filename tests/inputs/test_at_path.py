"""``@path`` in an input: the schema decides whether it means a file or the text of the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.inputs.at_path import LARGEST_TEXT, AtPaths, Reading

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
                    "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    "words": {"type": "array", "items": {"type": "string"}},
                    "image": {"type": "string", "format": "uri"},
                    "choice": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
                    "images": {"type": "array", "items": {"type": "string", "format": "uri"}},
                    "both": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "string"}]},
                    "extra": {"type": "object"},
                    "nested": {"$ref": "#/components/schemas/nested"},
                    "any": {},
                },
            },
        }
    }
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with ``cat.png`` and ``cat.txt``."""
    monkeypatch.chdir(tmp_path)
    Path("cat.png").write_bytes(b"\x89PNG")
    Path("cat.txt").write_bytes(b"\xef\xbb\xbfa cat,\r\nasleep\n")
    return tmp_path


def read(name: str, value: Any, document: dict[str, Any] | None = DOCUMENT, **options: Any) -> Any:
    return AtPaths(document, **options).read({name: value})[name]


TEXT = "a cat,\r\nasleep"


@pytest.mark.parametrize("name", ["prompt", "maybe", "either"])
def test_a_text_input_gets_the_text_of_the_file(name: str) -> None:
    assert read(name, "@cat.txt") == TEXT


@pytest.mark.parametrize(
    ("content", "text"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", ""), ("\n", "")]
)
def test_the_newline_at_the_end_of_a_file_is_not_part_of_the_text(content: str, text: str) -> None:
    Path("a.txt").write_bytes(content.encode())
    assert read("prompt", "@a.txt") == text


@pytest.mark.parametrize("text", ["@alice said", "@", "@.", "@none.txt", "@a\0b", "@" + "x" * 5000, "@~nobody-there/x"])
def test_a_text_input_gets_the_text_itself_if_there_is_no_such_file(text: str) -> None:
    assert read("prompt", text) == text
    assert read("words", [text, "x"]) == [text, "x"]


@pytest.mark.parametrize("name", ["image", "choice", "any", "unknown", "both"])
def test_an_input_that_takes_a_file_or_any_type_gets_the_file(name: str) -> None:
    assert read(name, "@cat.png") == Path("cat.png")


@pytest.mark.parametrize("name", ["image", "choice", "any", "unknown", "prompt", "both"])
def test_in_every_input_two_leading_at_signs_are_read_as_text_with_one(name: str) -> None:
    assert read(name, "@@cat.txt") == "@cat.txt"
    assert read(name, "@@@x") == "@@x"


@pytest.mark.parametrize(
    "text", ["@", "@-", "@no-such-file", "@" + "x" * 5000, "@a\0b", "@~nobody-of-that-name/x", "@."]
)
@pytest.mark.parametrize("name", ["image", "any"])
def test_the_error_of_a_missing_file_says_how_to_write_text(name: str, text: str) -> None:
    with pytest.raises(JobError, match=rf"^{name}: .*\(text that starts with @ is written @@…\)$"):
        read(name, text)


def test_an_input_for_files_and_text_gets_the_text_if_there_is_no_file() -> None:
    assert read("both", "@alice") == "@alice"


@pytest.mark.parametrize(("name", "value"), [("n", "@5"), ("extra", {"a": "@cat.txt"}), ("prompt", "a@b"), ("n", 5)])
def test_an_at_sign_has_no_meaning_in_other_values(name: str, value: Any) -> None:
    assert read(name, value) is value


def test_items_of_lists_are_read_like_values() -> None:
    assert read("words", ["@cat.txt", "@@x", "@y"]) == [TEXT, "@x", "@y"]
    assert read("images", ["@cat.png", "https://x"]) == [Path("cat.png"), "https://x"]
    assert read("any", ["@cat.png", "@@x", 4], None) == [Path("cat.png"), "@x", 4]
    with pytest.raises(JobError, match=r"^images\[1\]: there is no file 'b\.png'"):
        read("images", ["@cat.png", "@b.png"])


def test_a_tilde_is_the_home_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert read("image", "@~/cat.png") == folder / "cat.png"
    assert read("prompt", "@~/cat.txt") == TEXT


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["image", "prompt"])
def test_a_file_without_read_permission_is_refused(name: str) -> None:
    Path("secret").touch(mode=0o000)
    with pytest.raises(JobError, match=r"may not be read|cannot be read"):
        read(name, "@secret")


def test_a_text_input_refuses_binary_and_endless_files() -> None:
    with pytest.raises(JobError, match=r"^prompt: cat\.png is not UTF-8 text \(byte 1\), and this input takes text"):
        read("prompt", "@cat.png")
    with Path("long.txt").open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)
    with pytest.raises(JobError, match=r"^prompt: long\.txt is longer than the 4 MB"):
        read("prompt", "@long.txt")


def test_with_the_option_within_text_is_read_only_from_those_folders(folder: Path) -> None:
    inside, outside = folder / "in", folder / "secret.txt"
    (inside / "deep").mkdir(parents=True)
    outside.write_text("secret")
    (inside / "deep" / "a.txt").write_text("a")
    (inside / "link.txt").symlink_to(outside)
    assert read("prompt", "@in/deep/a.txt", within=[inside]) == "a"
    for name in ("@secret.txt", f"@{outside}", "@in/../secret.txt", "@in/link.txt"):
        with pytest.raises(JobError, match="is outside of the folders from which a row may take text"):
            read("prompt", name, within=[inside])
    assert read("image", "@cat.png", within=[inside]) == Path("cat.png")


def test_each_reading_of_an_at_sign_is_reported_to_the_observer() -> None:
    readings: list[Reading] = []
    given = {"prompt": "@cat.txt", "words": ["x", "@alice", "@@bob"], "image": "@cat.png"}
    AtPaths(DOCUMENT, observe=readings.append).read(given)
    assert [(each.where, each.kind, each.text) for each in readings] == [
        ("prompt", "text", "@cat.txt"),
        ("words[1]", "typed", "@alice"),
        ("words[2]", "escaped", "@@bob"),
        ("image", "file", "@cat.png"),
    ]


def test_lists_and_schemas_that_contain_themselves_are_left_alone() -> None:
    deep: list[Any] = ["@cat.png"]
    for _ in range(5000):
        deep = [deep]
    assert read("any", deep) is deep
    assert read("nested", deep) is deep


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the folder never changes
@given(st.text(), st.sampled_from(["prompt", "image", "any"]))
def test_any_text_can_be_escaped(text: str, name: str) -> None:
    assert read(name, "@" + text if text.startswith("@") else text) == text
