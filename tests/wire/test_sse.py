"""Server-sent events: whatever the network does to the bytes, the events are the same."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.wire.sse import Decoder, Event


def decode(*chunks: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def reference(text: str) -> list[tuple[str, str, str]]:
    """Another implementation of the WHATWG algorithm, for a whole text, with a regular expression for each field."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    last, events = "", []
    for block in re.findall(r"((?:[^\n]+\n)*)\n", text):
        fields = [re.fullmatch(r"([^:]*)(?:: ?(.*))?", line, re.DOTALL) for line in block.split("\n")[:-1]]
        pairs = [(field[1], field[2] or "") for field in fields if field]
        ids = [value for name, value in pairs if name == "id" and "\0" not in value]
        last = ids[-1] if ids else last
        kinds = [value for name, value in pairs if name == "event"]
        data = [value for name, value in pairs if name == "data"]
        if data or (kinds and kinds[-1]):
            events.append(((kinds[-1] if kinds else "") or "message", "\n".join(data), last))
    return events


_LINES = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["data", "event", "id", "retry", "", "other"]),
        st.sampled_from([":", ": ", ":  "]),
        st.sampled_from(["", "output", "done", "1:0", "a b", "é✓😀", ":", "nul\0"]),
    ),
    st.sampled_from(["data", "event", "id", ""]),
)
_TEXTS = st.lists(st.tuples(_LINES, st.sampled_from(["\n", "\r\n", "\r"])), max_size=30).map(
    lambda lines: "".join(line + end for line, end in lines)
)


@given(_TEXTS, st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_events_do_not_depend_on_where_the_bytes_are_cut(text: str, cuts: list[int], bom: bool) -> None:  # noqa: FBT001 - hypothesis calls it
    # A lone "\r" at the very end may be half of "\r\n": one more line says which it was.
    whole = (("\ufeff" if bom else "") + text + ":\n").encode()
    places = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    pieces = [whole[first:last] for first, last in pairwise(places)]
    events = decode(*pieces)
    assert [(event.type, event.data, event.id) for event in events] == reference(text + ":\n")
    assert events == decode(*(bytes([byte]) for byte in whole))


def test_several_data_lines_join_with_a_newline() -> None:
    assert decode(b"event: output\ndata: a\ndata:\ndata:  b\n\n") == [Event("output", "a\n\n b")]


def test_an_event_without_an_id_has_the_id_of_the_event_before_but_no_id_of_its_own() -> None:
    first, second = decode(b"id: 7:0\ndata: a\n\ndata: b\n\n")
    assert (first.id, first.own_id) == ("7:0", True)
    assert (second.id, second.own_id) == ("7:0", False)


def test_an_empty_id_clears_the_last_id_and_does_not_count_as_an_id_of_the_event() -> None:
    _, second = decode(b"id: 7:0\ndata: a\n\nid:\ndata: b\n\n")
    assert (second.id, second.own_id) == ("", False)


def test_an_event_with_a_type_and_without_data_is_delivered() -> None:
    assert decode(b"event: done\n\n\n: comment\n\nid: 1\n\n") == [Event("done", "")]


def test_an_event_cut_off_by_the_end_of_the_stream_is_not_delivered() -> None:
    assert decode(b"data: whole\n\nevent: output\ndata: half\n") == [Event("message", "whole")]


@pytest.mark.parametrize("broken", [b"\xff", b"\xe2\x9c", b"\xed\xa0\x80"])
def test_invalid_utf_8_becomes_replacement_characters(broken: bytes) -> None:
    (event,) = decode(b"data: a" + broken + b"b\n\n")
    assert event.data.startswith("a\ufffd")
    assert event.data.endswith("b")
