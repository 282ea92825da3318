from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.serving.stream import done_data, encode_comment, encode_event, error_data, event_id
from replicate_job.wire.sse import Decoder, Event


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_encoded_text_is_decoded_to_the_same_lines(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    (event,) = Decoder().feed(encode_event("output", text, "1:0"))
    assert event == Event("output", lines, "1:0", own_id=True)


def test_comments_and_events_without_an_id_set_no_event_id() -> None:
    decoder = Decoder()
    assert decoder.feed(encode_comment("hello")) == []
    assert decoder.feed(encode_event("done", "{}")) == [Event("done", "{}")]
    assert event_id(1690212292.9, 3) == "1690212292:3"


@pytest.mark.parametrize(
    ("status", "data"),
    [
        ("succeeded", "{}"),
        ("failed", '{"reason":"error"}'),
        ("canceled", '{"reason":"canceled"}'),
        ("aborted", '{"reason":"canceled"}'),
    ],
)
def test_the_event_done_has_a_reason_unless_the_prediction_succeeded(status: str, data: str) -> None:
    assert done_data(status) == data


def test_the_event_error_has_its_message_in_the_field_detail() -> None:
    assert error_data('no "memory"') == '{"detail":"no \\"memory\\""}'
