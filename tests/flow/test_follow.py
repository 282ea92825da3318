"""Streaming: every piece of text comes once whatever happens to the connection, and the terminal status is awaited."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job, Result
from replicate_job.testing import Script, ScriptedAPI, Stream, StreamEvent

Connect = Callable[..., AbstractAsyncContextManager[Context]]
WORDS = ["Once", " upon", " a", " time", "."]
LLAMA = Job("meta/llama-2-70b-chat", {"prompt": "x"}, poll_interval=0.05, max_poll_attempts=200)


async def follow(connect: Connect, api: ScriptedAPI, job: Job = LLAMA) -> tuple[Result, list[str]]:
    pieces: list[str] = []
    async with connect(api) as context, asyncio.timeout(10):
        result = await run_job(context, Ask(job, key="job", emit=pieces.append))
    assert api.strayed_token() == []
    return result, pieces


def streams(api: ScriptedAPI) -> list[Any]:
    return [request for request in api.requests if request.operation == "stream"]


async def test_text_is_yielded_in_the_pieces_that_the_model_writes(api: ScriptedAPI, connect: Connect) -> None:
    api.next(Script(duration=0.2, output=WORDS, stream=Stream(interval=0.02)))
    result, pieces = await follow(connect, api)
    assert pieces == WORDS
    assert (result.status, result.output) == ("succeeded", WORDS)
    (request,) = streams(api)
    assert request.headers["accept"] == "text/event-stream"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("ending", ["drop", "close"])
async def test_a_broken_stream_is_resumed_after_the_last_event(api: ScriptedAPI, connect: Connect, ending: str) -> None:
    api.next(Script(duration=0.1, output=WORDS, stream=Stream(breaks=(2, 1), ending=ending)))
    _, pieces = await follow(connect, api)
    assert pieces == WORDS
    ids = [request.headers.get("last-event-id", "").partition(":")[2] for request in streams(api)]
    assert ids == ["", "1", "2"]


@pytest.mark.parametrize("ending", ["drop", "close"])
async def test_after_a_broken_stream_without_event_ids_the_remaining_text_comes_once_from_polling(
    api: ScriptedAPI, connect: Connect, ending: str
) -> None:
    api.next(Script(duration=0.1, output=WORDS, stream=Stream(ids=False, breaks=(2,), ending=ending)))
    _, pieces = await follow(connect, api)
    assert pieces == ["Once", " upon", " a time."]
    assert len(streams(api)) == 1


async def test_empty_event_ids_count_as_missing(api: ScriptedAPI, connect: Connect) -> None:
    events = tuple(StreamEvent(raw=f"event: output\nid:\ndata: {word}\n\n".encode()) for word in ("a", "b", "c"))
    api.next(Script(duration=0.1, output=["a", "b", "c"], stream=Stream(events=events)))
    _, pieces = await follow(connect, api)
    assert "".join(pieces) == "abc"


async def test_repeated_events_are_used_only_once(api: ScriptedAPI, connect: Connect) -> None:
    events = tuple(StreamEvent(data=word, id=name) for word, name in [("a", "1"), ("b", "2"), ("b", "2"), ("a", "1")])
    api.next(Script(duration=0.1, output=["a", "b"], stream=Stream(events=events)))
    _, pieces = await follow(connect, api)
    assert pieces == ["a", "b"]


async def test_only_output_events_are_text_and_their_data_lines_are_joined(api: ScriptedAPI, connect: Connect) -> None:
    events = (
        StreamEvent("logs", "loading"),
        StreamEvent("metric", '{"a":1}'),
        StreamEvent(comment="still here"),
        StreamEvent(raw=b"retry: 5\n\n"),
        "two\nlines",
        StreamEvent("message", "not output"),
        StreamEvent(raw=b"data: no type\n\n"),
    )
    api.next(Script(duration=0.1, output=["two\nlines"], stream=Stream(events=events)))
    _, pieces = await follow(connect, api)
    assert pieces == ["two\nlines"]


async def test_after_connections_without_new_events_the_prediction_is_polled(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.next(Script(duration=1, output=WORDS, stream=Stream(breaks=(1, *[0] * 50))))
    _, pieces = await follow(connect, api)
    assert pieces == ["Once", " upon a time."]
    assert len(streams(api)) == 4


@pytest.mark.parametrize("fault", ["404", "503", "html", "drop", "close"])
async def test_if_the_stream_never_opens_the_prediction_is_polled(connect: Connect, fault: str) -> None:
    with ScriptedAPI(faults=f"stream:{fault}=1") as api:
        result, pieces = await follow(connect, api)
    assert pieces == ["".join(WORDS)]
    assert result.status == "succeeded"


async def test_a_stream_whose_second_connection_succeeds_is_read(api: ScriptedAPI, connect: Connect) -> None:
    api.faults.next("stream", "503")
    api.next(Script(duration=0.3, output=WORDS, stream=Stream(interval=0.02)))
    _, pieces = await follow(connect, api)
    assert pieces == WORDS


async def test_the_end_of_the_stream_is_not_the_end_of_the_prediction(api: ScriptedAPI, connect: Connect) -> None:
    events = ("a", StreamEvent("done", "{}"))
    api.next(Script(duration=0.5, output=["a", "b"], stream=Stream(events=events)))
    result, pieces = await follow(connect, api)
    assert (result.status, pieces) == ("succeeded", ["a", "b"])


async def test_after_a_stream_that_ends_without_done_the_prediction_is_polled(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.next(Script(duration=0.1, output=WORDS, stream=Stream(done=False)))
    result, pieces = await follow(connect, api)
    assert (result.status, pieces) == ("succeeded", WORDS)


async def test_a_failed_prediction_keeps_its_streamed_text(api: ScriptedAPI, connect: Connect) -> None:
    api.next(Script(duration=0.1, end="failed", error="boom", output=["a"], stream=Stream()))
    result, pieces = await follow(connect, api)
    assert (result.status, result.error, pieces) == ("failed", "boom", ["a"])


async def test_the_output_of_a_model_without_a_stream_comes_at_the_end(api: ScriptedAPI, connect: Connect) -> None:
    job = Job("replicate/hello-world", {"text": "you"}, poll_interval=0.05, max_poll_attempts=200)
    result, pieces = await follow(connect, api, job)
    assert (result.output, pieces) == ("hello you", ["hello you"])


async def test_a_file_output_is_not_streamed_as_text(api: ScriptedAPI, connect: Connect) -> None:
    job = Job("black-forest-labs/flux-schnell", {"prompt": "x"}, poll_interval=0.05, max_poll_attempts=200)
    result, pieces = await follow(connect, api, job)
    assert result.output[0].startswith(api.files_url)
    assert pieces == []


async def test_streamed_numbers_match_the_output(api: ScriptedAPI, connect: Connect, heard: Any) -> None:
    events = tuple(StreamEvent(data=word, id=str(number)) for number, word in enumerate(["a", "3"]))
    api.next(Script(duration=0.1, output=["a", 3, None, "b"], stream=Stream(events=events)))
    _, pieces = await follow(connect, api)
    assert pieces == ["a", "3", "b"]
    assert heard.warnings == []


async def test_streamed_text_of_an_object_output_is_warned_of(api: ScriptedAPI, connect: Connect, heard: Any) -> None:
    api.next(Script(duration=0.1, output={"text": "ab"}, stream=Stream(events=("a", "b"))))
    _, pieces = await follow(connect, api)
    assert pieces == ["a", "b"]
    assert any("not the beginning of the output" in line for line in heard.warnings)


async def test_streamed_text_that_is_not_in_the_output_is_warned_of(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.next(Script(duration=0.1, output=["other"], stream=Stream(events=("a", "b"))))
    _, pieces = await follow(connect, api)
    assert pieces == ["a", "b"]
    assert any("not the beginning of the output" in line for line in heard.warnings)


@pytest.mark.parametrize("url", ["http://[", "/stream", "ftp://example.com/x", "http://127.0.0.1:1/x", "x", "http://"])
async def test_with_a_wrong_stream_url_the_prediction_is_polled(api: ScriptedAPI, connect: Connect, url: str) -> None:
    api.next(Script(duration=0.2, output=WORDS, overrides={"urls": {"stream": url}}))
    result, pieces = await follow(connect, api)
    assert (result.status, pieces) == ("succeeded", ["".join(WORDS)])


async def test_when_the_limit_of_polls_is_reached_the_text_so_far_has_been_yielded(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.next(Script(boot=0, duration=math.inf, output=WORDS, stream=Stream(interval=1)))
    job = Job("meta/llama-2-70b-chat", {"prompt": "x"}, poll_interval=0.1, max_poll_attempts=4)
    result, pieces = await follow(connect, api, job)
    assert result.status == "processing"
    assert pieces == ["Once"]


async def test_following_a_finished_job_replays_its_stored_text_without_a_request(
    api: ScriptedAPI, connect: Connect
) -> None:
    await follow(connect, api)
    requests = len(api.requests)
    _, pieces = await follow(connect, api)
    assert pieces == ["".join(WORDS)]
    assert len(api.requests) == requests
