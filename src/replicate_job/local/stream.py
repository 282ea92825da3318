"""A prediction's events as server-sent events, in the dialect of Replicate's streams."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.local.origin import placed
from replicate_job.local.prediction import Ended, Logged, Produced
from replicate_job.serving.stream import done_data, encode_comment, encode_event, error_data, event_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from replicate_job.local.prediction import Event, Prediction
    from replicate_job.local.predictions import Predictions

_NUMBER = re.compile(r".*:(\d{1,12})", re.ASCII)
_OPENING = encode_comment("this machine")
_AT_ONCE = 2**16  # bytes


async def stream(predictions: Predictions, prediction: Prediction, last: str, here: str) -> AsyncIterator[bytes]:
    """All that happened and happens to it, after the event whose id is ``last``; ``here`` is this server's address."""
    yield _OPENING
    number = _NUMBER.fullmatch(last)
    start = int(number[1]) + 1 if number else 0
    async for position, event in predictions.events(prediction, start):
        if encoded := encode(event, event_id(prediction.created_at, position)):
            yield placed(encoded, here)


async def replay(body: bytes, last: str) -> AsyncIterator[bytes]:
    """What became of one that ended long ago: its log and its output, and only its end after ``last``."""
    yield _OPENING
    prediction: dict[str, Any] = msgspec.json.decode(body)
    began = datetime.fromisoformat(prediction["created_at"]).timestamp()
    output = prediction["output"]
    values = output if isinstance(output, list) else [] if output is None else [output]
    events: list[Event] = [Logged(prediction["logs"])] if prediction["logs"] else []
    events += map(Produced, values)
    for position, event in enumerate([] if last else events):
        yield encode(event, event_id(began, position)) or b""
    yield encode(Ended(prediction["status"], error=prediction["error"]), "") or b""


async def unhurried(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, and now and then a turn of the event loop.

    A connection says only in the next turn that its client does not read: until then it would take all there is.
    """
    size = 0
    async for piece in pieces:
        yield piece
        size += len(piece)
        if size > _AT_ONCE:
            size = 0
            await asyncio.sleep(0)


def encode(event: Event, id: str) -> bytes | None:  # noqa: A002 - the field's own name
    """None for an event that streams do not have. ``done`` and ``error`` bear no id."""
    match event:
        case Produced():
            return encode_event("output", _text(event.value), id)
        case Logged():
            return encode_event("logs", event.text, id)
        case Ended():
            error = encode_event("error", error_data(event.error)) if event.status == "failed" else b""
            return error + encode_event("done", done_data(event.status))
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
