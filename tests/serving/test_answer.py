from __future__ import annotations

from typing import Any

import msgspec
import pytest

from replicate_job.serving.answer import (
    NOT_FOUND,
    UNAUTHENTICATED,
    Answer,
    InvalidField,
    additional,
    invalid,
    problem,
    refusal,
    required,
)


async def sent(answer: Answer) -> tuple[int, dict[bytes, bytes], bytes]:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        raise AssertionError("an answer does not look at the request")

    await answer({}, receive, send)
    start, body = messages
    return start["status"], dict(start["headers"]), body["body"]


async def test_an_answer_is_sent_with_content_length_content_type_and_its_headers() -> None:
    answer = Answer(200, b"{}", headers=(("Location", "http://x"),))
    headers = {b"content-length": b"2", b"content-type": b"application/json", b"location": b"http://x"}
    assert await sent(answer) == (200, headers, b"{}")
    assert await sent(Answer(204, content_type="")) == (204, {}, b"")


def test_an_error_response_has_its_nonempty_fields_in_the_order_of_the_api() -> None:
    answer = problem(402, "No money.", "Insufficient credit", hint="pay")
    assert answer.body == b'{"title":"Insufficient credit","detail":"No money.","status":402,"hint":"pay"}'
    assert answer.content_type == "application/problem+json"
    assert NOT_FOUND.body == b'{"detail":"The requested resource could not be found.","status":404}'
    assert {NOT_FOUND.content_type, UNAUTHENTICATED.content_type} == {"application/problem+json"}


def test_a_422_lists_every_invalid_field_and_repeats_them_in_the_detail() -> None:
    answer = invalid(required("prompt", "input"), additional("x"), InvalidField("enum", "input.a", "no"))
    body = msgspec.json.decode(answer.body)
    assert body["invalid_fields"] == [
        {"type": "required", "field": "input", "description": "prompt is required"},
        {
            "type": "additional_property_not_allowed",
            "field": "",
            "description": "Additional property x is not allowed",
        },
        {"type": "enum", "field": "input.a", "description": "no"},
    ]
    assert body["detail"] == ("- input: prompt is required\n- Additional property x is not allowed\n- input.a: no\n")


@pytest.mark.parametrize("status", [400, 401, 402, 404, 413, 418, 429, 499, 500, 503])
def test_every_status_has_a_json_answer(status: int) -> None:
    answer = refusal(status)
    assert answer.status == msgspec.json.decode(answer.body)["status"] == status
