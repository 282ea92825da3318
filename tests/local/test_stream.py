"""Resuming streams, and streams after a restart. ``tests/local/test_app.py`` has the main cases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.local.prediction import Ended, Logged, Produced, Started
from replicate_job.local.stream import encode, paced
from replicate_job.wire.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from replicate_job.local.prediction import ModelEvent

TEXT = """
    from cog import BasePredictor, ConcatenateIterator

    class Predictor(BasePredictor):
        def predict(self, text: str, fail: bool = False) -> ConcatenateIterator[str]:
            print("log")
            yield from text.split("|")
            if fail:
                raise ValueError("out of words")
"""
SLOW = """
    import time
    from cog import BasePredictor

    class Predictor(BasePredictor):
        def predict(self) -> str:
            print("begun", flush=True)
            time.sleep(60)
            return "late"
"""


async def read(api: Any, prediction: Any, **headers: str) -> list[tuple[str, str, str]]:
    answer = await api.request("GET", f"/stream/{prediction['id']}", **headers)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    body = bytes(await answer.bytes())
    assert body.startswith(b": this machine\n\n")
    return [(event.type, event.data, event.id if event.own_id else "") for event in Decoder().feed(body)]


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        (Started(), b""),
        (Produced("a\nb\r\nc\rd"), b"event: output\nid: 7:1\ndata: a\ndata: b\ndata: c\ndata: d\n\n"),
        (Produced(["a", 1]), b'event: output\nid: 7:1\ndata: ["a",1]\n\n'),
        (Produced(""), b"event: output\nid: 7:1\ndata: \n\n"),
        (Logged("a\n"), b"event: logs\nid: 7:1\ndata: a\ndata: \n\n"),
        (Ended("succeeded", "a"), b"event: done\ndata: {}\n\n"),
        (Ended("canceled"), b'event: done\ndata: {"reason":"canceled"}\n\n'),
        (Ended("aborted"), b'event: done\ndata: {"reason":"canceled"}\n\n'),
        (
            Ended("failed", error="x"),
            b'event: error\ndata: {"detail":"x"}\n\nevent: done\ndata: {"reason":"error"}\n\n',
        ),
    ],
)
def test_each_event_is_encoded_as_a_server_sent_event(event: ModelEvent, sent: bytes) -> None:
    assert encode(event, "7:1") == sent


async def test_event_ids_rise_and_a_stream_can_resume_after_each(write_model: Callable[..., Path], local: Any) -> None:
    write_model(TEXT)
    async with local() as api:
        done = await api.run(text="a|b|c|d")
        events = await read(api, done)
        marked = [(number, event) for number, event in enumerate(events) if event[2]]
        numbers = [(event[0], event[2].rpartition(":")[2]) for _, event in marked]
        assert numbers == [("logs", "-1"), *(("output", str(number)) for number in range(4))]
        for number, (kind, _, id) in marked:  # noqa: A001 - it is one
            rest = events[number + 1 :] if kind == "output" else events
            assert await read(api, done, last_event_id=id) == rest


@pytest.mark.parametrize("last", ["", "nonsense", "1:", ":", "1:x", "1:-5", "1:\xb2", "9" * 5000, "1:" + "9" * 5000])
async def test_a_malformed_last_event_id_starts_the_stream_at_the_beginning(
    write_model: Callable[..., Path], local: Any, last: str
) -> None:
    write_model(TEXT)
    async with local() as api:
        done = await api.run(text="a|b")
        assert await read(api, done, last_event_id=last) == await read(api, done)


async def test_a_client_that_has_received_all_output_events_gets_only_the_event_done(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(TEXT)
    async with local() as api:
        done = await api.run(text="a|b")
        assert await read(api, done, last_event_id="1:999") in ([], [("done", "{}", "")])


async def test_canceling_ends_every_stream_with_the_reason(write_model: Callable[..., Path], local: Any) -> None:
    write_model(SLOW)
    async with local() as api:
        running = await api.until(await api.create({}), lambda found: "begun" in found["logs"])
        readers = [asyncio.create_task(read(api, running)) for _ in range(5)]
        await api.request("POST", running["urls"]["cancel"])
        for events in await asyncio.gather(*readers):
            assert [data for kind, data, _ in events if kind == "logs"] == ["begun\n"]
            assert events[-1] == ("done", '{"reason":"canceled"}', "")


@pytest.mark.parametrize("fail", [False, True])
async def test_after_a_restart_an_ended_prediction_streams_from_the_beginning_or_after_an_id(
    write_model: Callable[..., Path],
    local: Any,
    tmp_path: Path,
    fail: bool,  # noqa: FBT001 - the case
) -> None:
    write_model(TEXT)
    async with local(state=tmp_path / "state") as api:
        done = await api.run(text="one |two\nlines", fail=fail)
        before = await read(api, done)
    async with local(state=tmp_path / "state") as api:
        after = await read(api, done)
        texts = [[data for kind, data, _ in events if kind == "output"] for events in (before, after)]
        assert texts[0] == ["one ", "two\nlines"]
        assert "".join(texts[1]) == "one two\nlines"
        assert [data for kind, data, _ in after if kind == "logs"] == ["log\n"]
        ends = [event for event in before if event[0] in {"error", "done"}]
        assert after[-len(ends) :] == ends
        first = next(number for kind, _, number in after if kind == "output")
        rest = [data for kind, data, _ in await read(api, done, last_event_id=first) if kind == "output"]
        assert rest == texts[1][1:]


async def test_the_stream_of_a_prediction_that_a_restart_ended_has_the_error_of_the_restart(
    write_model: Callable[..., Path], local: Any, tmp_path: Path
) -> None:
    write_model(SLOW)
    async with local(state=tmp_path / "state") as api:
        left = await api.until(await api.create({}), lambda found: "begun" in found["logs"])
    async with local(state=tmp_path / "state") as api:
        events = await read(api, left)
        assert events[-2:] == [
            ("error", '{"detail":"the server was stopped before this ended"}', ""),
            ("done", '{"reason":"error"}', ""),
        ]


async def test_the_stream_of_an_unknown_prediction_is_a_404(local: Any) -> None:
    async with local() as api:
        assert (await api.request("GET", "/stream/none")).status == 404
        assert (await api.request("POST", "/stream/none")).status == 405


async def test_a_client_that_does_not_read_pauses_a_long_stream() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000

    async def turn() -> None:
        while True:
            sizes.append(0)
            await asyncio.sleep(0)

    sizes = [0]
    turning = asyncio.create_task(turn())
    async for piece in paced(pieces()):
        sizes[-1] += len(piece)
    turning.cancel()
    assert sum(sizes) == 1_000_000
    assert max(sizes) < 100_000
