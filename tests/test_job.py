"""A result that is made without a prediction."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_job import Result

API = "http://127.0.0.1:5000/v1/predictions/p"
FILE = "https://replicate.delivery/xezq/out.webp"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("hello Ada", "hello Ada"),
        ("", ""),
        (["Once", " upon", " a time"], "Once upon a time"),
        ([""], ""),
        ("https://example.com", "https://example.com"),
        ("see https://replicate.delivery/x", "see https://replicate.delivery/x"),
        (None, None),
        ([], None),
        (4, None),
        ({"text": "x"}, None),
        (["a", 1], None),
        ([["a"]], None),
        (FILE, None),
        ([FILE, FILE], None),
        (["a caption", FILE], None),
        ("data:image/png;base64,aGk=", None),
        ("http://127.0.0.1:5000/v1/files/1/out.png", None),
    ],
)
def test_a_result_has_a_text_only_if_its_output_is_a_string_or_a_list_of_strings(output: Any, text: str | None) -> None:
    result = Result("p", "succeeded", "acme/model", {}, output, urls={"get": API})
    assert result.text == text
