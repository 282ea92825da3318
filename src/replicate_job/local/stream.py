"""A prediction's events as server-sent events, in the dialect of Replicate's streams."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.local.origin import resolve_origin
from replicate_job.local.prediction import Ended, Logged, Produced
from replicate_job.serving.stream import done_data, encode_comment, encode_event, error_data, event_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from replicate_job.local.prediction import LocalPrediction, ModelEvent
    from replicate_job.local.predictions import Predictions

_EVENT_ID = re.compile(r".*:(\d{1,12})", re.ASCII)
_OPENING = encode_comment("this machine")
_SENT_AT_ONCE = 2**16  # bytes that are sent without a pause


async def stream(predictions: Predictions, prediction: LocalPrediction, last: str, here: str) -> AsyncIterator[bytes]:
    """Yield a prediction's events after the output with the id ``last``, until the prediction ends.

    With an empty ``last``, all events are yielded. ``here`` is this server's origin.

    Ids count outputs, because a client must get each output exactly once. A log has the id of the output before it.
    """
    yield _OPENING
    seen, number = _outputs_seen(last), 0
    async with aclosing(predictions.events(prediction)) as events:
        async for event in events:
            is_output = isinstance(event, Produced)
            number += is_output
            if number > seen or (number == seen and not is_output) or isinstance(event, Ended):
                yield resolve_origin(encode(event, event_id(prediction.created_at, number - 1)), here)


async def replay(body: bytes, last: str) -> AsyncIterator[bytes]:
    """A stream of a prediction whose events are no longer in memory: its log, then the outputs after id ``last``."""
    yield _OPENING
    prediction: dict[str, Any] = msgspec.json.decode(body)
    created_at = datetime.fromisoformat(prediction["created_at"]).timestamp()
    output, seen = prediction["output"], _outputs_seen(last)
    values = output if isinstance(output, list) else [] if output is None else [output]
    if prediction["logs"] and not seen:
        yield encode(Logged(prediction["logs"]), event_id(created_at, -1))
    for number, value in list(enumerate(values))[seen:]:
        yield encode(Produced(value), event_id(created_at, number))
    yield encode(Ended(prediction["status"], error=prediction["error"]), "")


def _outputs_seen(last: str) -> int:
    """The number of outputs that a client has received, if the id of its last event is ``last``."""
    number = _EVENT_ID.fullmatch(last)
    return int(number[1]) + 1 if number else 0


async def paced(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, with a pause for the event loop after every 64 KiB.

    If a client does not read, its connection pauses writing only in the loop's next iteration. Without the pauses, all
    pieces would be in memory before that.
    """
    size = 0
    async for piece in pieces:
        yield piece
        size += len(piece)
        if size > _SENT_AT_ONCE:
            size = 0
            await asyncio.sleep(0)


def encode(event: ModelEvent, id: str) -> bytes:  # noqa: A002 - the event's field is called so
    """Encode an event. Returns empty bytes for an event that streams do not show. ``done`` and ``error`` have no id.

    Logs also need an id, because Replicate's client for Python (1.0.7) tells events apart by their ids.
    """
    match event:
        case Produced():
            return encode_event("output", _text(event.value), id)
        case Logged():
            return encode_event("logs", event.text, id)
        case Ended():
            error = encode_event("error", error_data(event.error)) if event.status == "failed" else b""
            return error + encode_event("done", done_data(event.status))
    return b""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
