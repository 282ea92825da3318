from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.serving.answer import EMPTY, HTML, NOT_FOUND, OUT_OF_CREDIT, invalid, required
from replicate_job.testing import Answer, problem, throttled
from replicate_job.wire.problem import Problem, read_problem


def read(answer: Answer) -> Problem:
    return read_problem(answer.status, answer.body)


def test_every_field_of_an_error_body_is_kept() -> None:
    body = {"title": "Input validation failed", "detail": "- input: bad\n", "status": 422, "type": "t", "instance": "i"}
    fields = [{"type": "required", "field": "input", "description": "prompt is required"}]
    found = read_problem(422, msgspec.json.encode(body | {"invalid_fields": fields}))
    assert found == Problem(422, "Input validation failed", "- input: bad\n", "t", "i", tuple(fields))
    assert str(found) == "Input validation failed: - input: bad"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (NOT_FOUND, "The requested resource could not be found."),
        (OUT_OF_CREDIT, "Insufficient credit: You have insufficient credit to run this model."),
        (HTML, "502 Bad Gateway"),
        (EMPTY, "no explanation given"),
        (Answer(502, b"upstream request timeout"), "upstream request timeout"),
        (Answer(500, b'{"detail":"half a bo'), "no explanation given"),
        (Answer(500, b"[1, 2]"), "no explanation given"),
        (Answer(500, b"<html><body>no title"), "no explanation given"),
        (Answer(500, b"\xff\xfe\x00"), "\ufffd\ufffd\x00"),
        (Answer(400, b'{"detail":["a",{"b":1}]}'), '["a",{"b":1}]'),
        (Answer(400, b'{"title":"Same","detail":"Same"}'), "Same"),
        (Answer(400, b'{"title":null,"detail":null}'), "no explanation given"),
        (invalid(required("prompt", "input")), "Input validation failed: - input: prompt is required"),
    ],
)
def test_any_error_body_is_shown_as_one_line(answer: Answer, line: str) -> None:
    assert str(read(answer)) == line


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (throttled(body=5), 5.0),
        (throttled(body=0.5), 0.5),
        (throttled(body=0), 0.0),
        (throttled(detail=7), 7.0),
        (throttled(body=3, detail=7), 3.0),
        (throttled(body="soon", detail=7), 7.0),
        (throttled(body=True), None),
        (throttled(body=None), None),
        (throttled(header=9), None),  # a header is not the body's
        (problem(429, "Request was throttled. Your rate limit resets in ~1.5s."), 1.5),
    ],
)
def test_the_retry_time_is_read_from_the_field_or_the_detail(answer: Answer, seconds: float | None) -> None:
    assert read(answer).retry_after == seconds


def test_a_huge_retry_time_is_read_without_a_crash() -> None:
    found = read_problem(429, b'{"detail":"Request was throttled.","retry_after":' + b"9" * 400 + b"}")
    assert str(found) == "Request was throttled."


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"detail":' * 100_000], ids=["lists", "objects"])
def test_deeply_nested_json_is_read_without_a_crash(body: bytes) -> None:
    assert str(read_problem(500, body)) == "no explanation given"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["title", "detail", "type", "instance", "invalid_fields", "retry_after"]), _JSON)
)
def test_fields_of_any_type_are_read_without_a_crash(fields: dict[str, Any]) -> None:
    import json  # noqa: PLC0415 - writes integers of any size, which msgspec refuses

    found = read_problem(400, json.dumps(fields).encode())
    assert "\n" not in str(found)
    assert 0 < len(str(found)) <= 500


@given(st.binary(max_size=400))
def test_any_bytes_are_shown_as_one_line(body: bytes) -> None:
    line = str(read_problem(502, body))
    assert line
    assert len(line.splitlines()) == 1
