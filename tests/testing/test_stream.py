from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from replicate_job.testing import Script, ScriptedAPI, Stream, StreamEvent

Create = Callable[..., Any]
Ask = Callable[..., Any]


def stream(api: ScriptedAPI, create: Create, **facts: Any) -> str:
    """The URL of the stream of a new prediction."""
    output = facts.pop("output", ["a", "b", "c", "d"])
    script: dict[str, Any] = {"duration": 0.02, "boot": 0}
    script |= {key: facts.pop(key) for key in ("duration", "end", "error") if key in facts}
    api.next(Script(**script, output=output, stream=Stream(**facts)))
    return str(create(api)["urls"]["stream"])


def test_a_stream_has_a_comment_and_output_events_with_ids_and_the_event_done(
    api: ScriptedAPI, create: Create, ask: Ask
) -> None:
    url = stream(api, create, output=["one\ntwo", "x"])
    reply = ask(api, "GET", url)
    moment = int(api.predictions[0].created)
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.body.decode() == (
        ": opened\n\n"
        f"event: output\nid: {moment}:0\ndata: one\ndata: two\n\n"
        f"event: output\nid: {moment}:1\ndata: x\n\n"
        "event: done\ndata: {}\n\n"
    )
    assert api.requests[-1].operation == "stream"
    assert api.requests[-1].origin == "files"


def test_a_new_connection_continues_after_the_last_event_id(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    url = stream(api, create)
    reply = ask(api, "GET", url, Last_Event_ID=f"{int(api.predictions[0].created)}:1").body
    assert [line[-1:] for line in reply.splitlines() if line.startswith(b"data: ")] == [b"c", b"d", b"}"]


def test_connections_are_reset_after_the_scripted_number_of_events(
    api: ScriptedAPI, create: Create, ask: Ask, raw: Callable[..., bytes]
) -> None:
    url = stream(api, create, breaks=(2, 0))
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            raw(api.files_url, f"GET {url.removeprefix(api.files_url)} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert ask(api, "GET", url).body.endswith(b"event: done\ndata: {}\n\n")


@pytest.mark.parametrize(("count", "sent"), [(0, b""), (2, b"ab"), (4, b"abcd")])
def test_a_connection_can_end_cleanly_without_done(
    api: ScriptedAPI, create: Create, ask: Ask, count: int, sent: bytes
) -> None:
    reply = ask(api, "GET", stream(api, create, breaks=(count,), ending="close")).body
    assert b"".join(line[-1:] for line in reply.splitlines() if line.startswith(b"data: ")) == sent
    assert reply.endswith(b": closing\n\n")
    assert b"event: done" not in reply


def test_events_can_be_of_any_type_comments_or_raw_bytes(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    events = (
        StreamEvent("mystery", "?"),
        StreamEvent(comment="still here"),
        StreamEvent(raw=b"data:\xff\n\n"),
        StreamEvent("logs", "l"),
        "x",
    )
    reply = ask(api, "GET", stream(api, create, events=events, ids=False, done=False)).body
    assert reply == (
        b": opened\n\nevent: mystery\ndata: ?\n\n: still here\n\ndata:\xff\n\nevent: logs\ndata: l\n\n"
        b"event: output\ndata: x\n\n"
    )


def test_a_failed_prediction_sends_the_event_error_and_a_reason_in_the_event_done(
    api: ScriptedAPI, create: Create, ask: Ask
) -> None:
    reply = ask(api, "GET", stream(api, create, output=["a"], end="failed", error="no memory")).body
    assert b'event: error\ndata: {"detail":"no memory"}\n\n' in reply
    assert reply.endswith(b'event: done\ndata: {"reason":"error"}\n\n')


def test_canceling_ends_the_stream_with_the_reason(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    url = stream(api, create, duration=math.inf, interval=3600)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(ask, api, "GET", url)
        api.wait_until(lambda: api.count("stream"))
        ask(api, "POST", api.predictions[0].urls["cancel"])
        assert reading.result().body.endswith(b'event: done\ndata: {"reason":"canceled"}\n\n')


def test_the_event_done_is_sent_only_at_the_end_of_the_prediction(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    url = stream(api, create, duration=math.inf)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(ask, api, "GET", url)
        api.wait_until(lambda: api.count("stream"))
        assert not reading.done()
        api.predictions[0].finish()
        assert reading.result().body.endswith(b"event: done\ndata: {}\n\n")


def test_a_prediction_without_a_stream_has_no_stream_url(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    body = create(api)
    assert "stream" not in body["urls"]
    assert ask(api, "GET", f"{api.files_url}/stream/{body['id']}").status == 404
