"""Event streams (SSE) of scripted predictions."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec

from replicate_job.serving.answer import ANY_ORIGIN, NOT_FOUND
from replicate_job.serving.connection import reset, until_disconnected
from replicate_job.serving.stream import done_data, error_data, event_id
from replicate_job.testing.script import Stream, StreamEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from replicate_job.testing.predictions import ScriptedPrediction


class Streams:
    """An ASGI app for ``/stream/<prediction id>``. ``find`` returns the prediction with an id, or None."""

    def __init__(self, find: Callable[[str], ScriptedPrediction | None]) -> None:
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prediction = self._find(scope["path"].rpartition("/")[2])
        if prediction is None or prediction.script.stream is None:
            await NOT_FOUND(scope, receive, send)
            return
        stream, count = prediction.script.stream, prediction.streamed
        prediction.streamed += 1
        events = _events(prediction, stream)
        last = dict(scope["headers"]).get(b"last-event-id", b"").decode()
        position = next((index + 1 for index, event in enumerate(events) if last and event.id == last), 0)
        end = position + stream.breaks[count] if count < len(stream.breaks) else None
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        headers += [(name.encode(), value.encode()) for name, value in ANY_ORIGIN]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        sending = asyncio.ensure_future(_send_events(prediction, events, position, end, send))
        # This task notices a disconnected client at once, and not only when the next event is sent.
        leaving = asyncio.ensure_future(until_disconnected(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.result() and stream.ending == "drop":
                await reset(scope, receive)
        finally:
            sending.cancel()
            leaving.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _send_events(
    prediction: ScriptedPrediction, events: list[StreamEvent], position: int, end: int | None, send: Send
) -> bool:
    """Send the events from ``position`` on, each at its time. Returns False if the connection must break at ``end``."""
    stream = prediction.script.stream or Stream()
    await _write(send, StreamEvent(comment="opened"))
    for index, event in enumerate(events[position:end], position):
        if not await prediction.reaches(prediction.started + stream.interval * index):
            break
        await _write(send, event)
    else:
        if end is not None and end <= len(events):
            if stream.ending == "close":
                await _write(send, StreamEvent(comment="closing"))
            return False
    await prediction.reaches(math.inf)
    if stream.done:
        await _write(send, StreamEvent("done", done_data(prediction.status)))
    return True


def _events(prediction: ScriptedPrediction, stream: Stream) -> list[StreamEvent]:
    chosen = stream.events
    if chosen is None:
        output = prediction.output if isinstance(prediction.output, list) else [prediction.output or ""]
        chosen = tuple(str(item) for item in output)
        if prediction.script.end == "failed":
            chosen += (StreamEvent("error", error_data(prediction.script.error)),)
    events = []
    for index, item in enumerate(chosen):
        event = StreamEvent(data=item) if isinstance(item, str) else item
        if stream.ids and not event.id and event.event in ("output", "logs"):
            event = msgspec.structs.replace(event, id=event_id(prediction.created, index))
        events.append(event)
    return events


async def _write(send: Send, event: StreamEvent) -> None:
    await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
