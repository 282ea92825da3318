"""Files and text in an output are told apart."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_job.outputs.discover import OutputFile, as_text, find_files, is_text, text_in

URI = {"type": "string", "format": "uri"}
DELIVERED = "https://replicate.delivery/xezq/abc/out-0.webp"
ELSEWHERE = "https://example.com/a.png"


def document(output: Any, **schemas: Any) -> dict[str, Any]:
    return {"components": {"schemas": {"Output": output, **schemas}}}


def found(output: Any, schema: dict[str, Any] | None = None, origin: str | None = None) -> list[tuple[Any, ...]]:
    return [file.position for file in find_files(output, schema, origin=origin)]


def test_a_string_with_the_uri_format_is_a_file_whatever_its_host_is() -> None:
    assert find_files(ELSEWHERE, document(URI)) == [OutputFile((), ELSEWHERE)]


def test_the_uri_format_is_enough_without_a_type() -> None:
    assert found(ELSEWHERE, document({"format": "uri"})) == [()]


def test_the_files_of_a_list_are_in_its_order() -> None:
    schema = document({"type": "array", "items": URI, "x-cog-array-type": "iterator"})

    assert find_files([ELSEWHERE, DELIVERED], schema) == [OutputFile((0,), ELSEWHERE), OutputFile((1,), DELIVERED)]


def test_objects_are_searched_through_references_and_unions() -> None:
    schema = document(
        {"$ref": "#/components/schemas/Made"},
        Made={
            "type": "object",
            "properties": {
                "images": {"type": "array", "items": {"$ref": "#/components/schemas/Picture"}},
                "audio": {"allOf": [{"anyOf": [URI, {"type": "null"}]}]},
                "maybe": URI | {"nullable": True},
                "caption": {"type": "string"},
            },
        },
        Picture=URI,
    )
    output = {"caption": DELIVERED, "images": [ELSEWHERE, ELSEWHERE], "audio": DELIVERED, "maybe": None}

    assert found(output, schema) == [("images", 0), ("images", 1), ("audio",)]


@pytest.mark.parametrize(
    "output",
    [
        {"$ref": "#/components/schemas/Picture"},
        {"allOf": [{"$ref": "#/components/schemas/Picture"}], "title": "Output"},
        {"anyOf": [{"$ref": "#/components/schemas/Picture"}, {"type": "null"}]},
        {"type": ["string", "null"], "format": "uri"},
    ],
)
def test_a_file_output_may_use_a_reference_or_be_nullable(output: dict[str, Any]) -> None:
    assert found(ELSEWHERE, document(output, Picture=URI)) == [()]
    assert found(DELIVERED, document(output, Picture={"type": "string"})) == ([()] if "format" in output else [])


def test_text_that_starts_with_https_is_text() -> None:
    assert found(DELIVERED, document({"type": "string"})) == []
    assert found([DELIVERED], document({"type": "array", "items": {"type": "string"}})) == []
    assert found(f"{DELIVERED} is where the picture lies") == []
    assert found(ELSEWHERE) == []


@pytest.mark.parametrize(
    ("url", "is_file"),
    [
        (DELIVERED, True),
        ("https://pbxt.replicate.delivery/a/b.png", True),
        ("HTTPS://Replicate.Delivery/a", True),
        ("https://replicate.delivery.evil.example/a", False),
        ("https://replicate.delivery@evil.example/a", False),
        ("https://notreplicate.delivery/a", False),
        ("ftp://replicate.delivery/a", False),
        ("http://[", False),
        ("http://127.0.0.1:5000/files/a", True),
        ("http://127.0.0.1:5001/files/a", False),
        ("https://127.0.0.1:5000/files/a", False),
        ("data:image/png;base64,aGk=", True),
        ("data:;base64,aGk=", True),
        ("data:,hello", False),
        ("data: see below, or above", False),
        ("date:image/png,", False),
    ],
)
def test_without_a_schema_the_host_of_a_url_decides_whether_it_is_a_file(url: str, is_file: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert bool(found(url, None, "http://127.0.0.1:5000/v1")) is is_file
    assert bool(found({"a": [url]}, document({"type": "object"}), "http://127.0.0.1:5000")) is is_file


def test_for_a_union_of_text_and_file_the_host_of_a_url_decides_whether_it_is_a_file() -> None:
    schema = document({"anyOf": [{"type": "string"}, URI]})

    assert found(ELSEWHERE, schema) == []
    assert found(DELIVERED, schema) == [()]


@pytest.mark.parametrize("value", [None, 4, True, "", "s3://bucket/key", "/etc/passwd", "file:///etc/passwd", []])
def test_a_value_that_is_not_a_url_is_not_a_file(value: Any) -> None:
    assert found(value, document(URI)) == []


def test_a_schema_that_refers_to_itself_is_followed_as_deep_as_the_output() -> None:
    schema = document(
        {"$ref": "#/components/schemas/Tree"},
        Tree={
            "type": "object",
            "properties": {"file": URI, "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
        },
        Loop={"$ref": "#/components/schemas/Loop"},
    )
    assert found({"file": ELSEWHERE, "children": [{"file": ELSEWHERE}]}, schema) == [("file",), ("children", 0, "file")]
    assert found(DELIVERED, document({"$ref": "#/components/schemas/Output"})) == [()]


TOKENS = document(
    {
        "type": "array",
        "items": {"type": "string"},
        "x-cog-array-type": "iterator",
        "x-cog-array-display": "concatenate",
    }
)


@pytest.mark.parametrize(
    ("output", "schema", "joined"),
    [
        (["The", " sea", ""], TOKENS, "The sea"),
        (["https://replicate.delivery", "/is text"], TOKENS, "https://replicate.delivery/is text"),
        (["a", "b"], document({"type": "array", "items": {"type": "string"}}), None),
        (["a", "b"], None, "ab"),
        ([DELIVERED], None, None),
        (["a", 1], TOKENS, None),
        ([], None, None),
        ("words", None, "words"),
        ("words", document({"type": "string"}), "words"),
        (DELIVERED, document({"type": "string"}), DELIVERED),
        (DELIVERED, None, None),
        ({"a": "b"}, None, None),
        (None, None, None),
    ],
)
def test_a_list_of_strings_is_joined_if_the_schema_allows_it_or_is_missing(
    output: Any, schema: Any, joined: str | None
) -> None:
    assert as_text(output, schema) == joined


WORDS = document({"type": "array", "items": {"type": "string"}})


@pytest.mark.parametrize(
    ("output", "schema", "text"),
    [
        (["a", None, 1, "b"], TOKENS, "ab"),
        (["a", None, 1, "b"], None, "ab"),
        (["a cat", None, "a dog"], WORDS, "a cat\na dog"),
        (["a", DELIVERED, "b"], None, "ab"),
        ([DELIVERED], WORDS, DELIVERED),
        ([{"a": "b"}, ["c"]], None, ""),
        ("a", None, "a"),
        (DELIVERED, None, ""),
        ({"a": "b"}, None, ""),
        (3, None, ""),
        (None, None, ""),
    ],
)
def test_the_text_of_an_output_is_found_beside_numbers_objects_and_files(output: Any, schema: Any, text: str) -> None:
    assert text_in(output, schema) == text


def test_the_schema_tells_whether_the_output_is_text_in_pieces() -> None:
    assert is_text(TOKENS)
    assert not is_text(document(URI))
    assert not is_text(None)
