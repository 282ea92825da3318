"""Streams a prediction's text over server-sent events, and then waits for its terminal status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import msgspec

from replicate_job.errors import AnswerTooLargeError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.outputs.discover import is_text, text_in
from replicate_job.wire.bounds import LARGEST
from replicate_job.wire.openapi import alternatives, definition
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.sse import Event

IDLE = 45.0
"""Seconds without an event after which a stream counts as broken: Replicate closes idle streams after about 30."""
EVENT = 100
"""Bytes that are counted for each event besides its text and id. A stream has the same size limit as a response."""
BARREN = 3
"""After this many connections in a row without a new event, polling replaces the stream."""

_EMPTY: tuple[Any, ...] = (None, "", [], {}, [""])

Emit = Callable[[str], None]


async def follow(  # noqa: PLR0913 - the prediction, the callback, and how to wait
    context: Context,
    last: Prediction,
    schema: dict[str, Any] | None,
    emit: Emit,
    *,
    until: float,
    interval: float | None,
) -> Prediction:
    """Call ``emit`` one time with each piece of the output text, until the end or until ``now`` reaches ``until``.

    If the stream breaks for good, or the API offers no stream, the prediction is polled. The remaining text then comes
    in one piece at the end. If the output has no text, a warning says so. Returns the last observed prediction, like
    ``wait``.
    """
    told = ""

    def tell(piece: str) -> None:
        nonlocal told
        told += piece
        if piece:
            emit(piece)

    url = last.url("stream")
    if url and not last.is_terminal and may_be_text(schema):
        await _Stream(context, url, tell, until).run()
    end = await context.strategy.wait(
        context,
        last.id,
        None if told else last,
        stored=None,
        age=0.0,
        until=until,
        interval=interval,
        soon=True,
    )
    tell_rest(context, end, schema, emit, told)
    return end


def tell_rest(context: Context, end: Prediction, schema: dict[str, Any] | None, emit: Emit, told: str = "") -> None:
    """Call ``emit`` with the output's text that was not streamed yet. Warn if the output and the stream differ."""
    whole = text_in(end.output, schema, origin=context.client.base_url)
    if told and not whole.startswith(told):
        whole = _as_events(end.output)
    if whole.startswith(told):
        if rest := whole[len(told) :]:
            emit(rest)
        elif not told and end.is_terminal and end.output not in _EMPTY:
            context.reporter.warn(f"the output of {end.id} holds no text to stream: it comes whole with the result")
    elif end.output is not None:
        advice = f"{context.line('show', end.id)} has it whole"
        context.reporter.warn(f"the streamed text is not the beginning of the output: {advice}")


def _as_events(output: Any) -> str:
    """The text that a stream of this list would have; empty for an output that is no list.

    An item that is not text is streamed as JSON.
    """
    if not isinstance(output, list):
        return ""
    return "".join(
        item if isinstance(item, str) else msgspec.json.encode(item).decode() for item in output if item is not None
    )


def may_be_text(schema: dict[str, Any] | None) -> bool:
    """Whether the output can be text: a list of pieces, or a string that is not a file. True without a schema."""
    output = definition(schema, "Output")
    if output is None or is_text(schema):
        return True
    return any(one.get("type") == "string" and one.get("format") != "uri" for one in alternatives(schema or {}, output))


class _Stream:
    """Reads one stream, and connects again if the connection breaks."""

    def __init__(self, context: Context, url: str, tell: Emit, until: float) -> None:
        self._context, self._url, self._tell, self._until = context, url, tell, until
        self._seen: set[str] = set()
        self._last_id = ""
        self._resumable = True
        self._size = 0

    async def run(self) -> None:
        """Read until the event ``done`` or the time ``until``, or until a new connection would lose or repeat text."""
        barren = 0
        while barren < BARREN and self._context.clock.now() < self._until:
            before = len(self._seen)
            try:
                if await self._connection():
                    return
                trouble = "the stream was closed"
            except AnswerTooLargeError as error:
                self._context.reporter.note(str(error))
                break
            except ReplicateJobError as error:
                trouble = str(error)
            if not self._resumable:
                break
            barren = 0 if len(self._seen) > before else barren + 1
            self._context.reporter.note(f"{trouble}; connecting again after event {self._last_id or '(none)'}")
            await self._context.clock.sleep(0.1 * barren)
        self._context.reporter.note("the stream cannot be followed to its end: polling instead")

    async def _connection(self) -> bool:
        """Read one connection. Returns whether the stream sent ``done``, or the time is over."""
        async with aclosing(self._context.client.stream_events(self._url, self._last_id)) as stream:
            while (left := self._until - self._context.clock.now()) > 0:
                try:
                    async with asyncio.timeout(min(left, IDLE)):
                        event = await anext(stream)
                except StopAsyncIteration:
                    return False
                except TimeoutError:
                    return left <= IDLE
                if self._take(event):
                    return True
        return True

    def _take(self, event: Event) -> bool:
        """Handle an event. Returns whether it ends the stream; the prediction itself may still run."""
        if event.type in {"done", "error"}:
            return True
        self._size += len(event.data) + len(event.id) + EVENT
        if self._size > LARGEST:
            raise AnswerTooLargeError(f"the stream is longer than {LARGEST // 1024**2} MB")
        if event.own_id:
            if event.id in self._seen:
                return False
            self._seen.add(event.id)
            self._last_id = event.id
        if event.type == "output":
            # After a reconnect the server repeats or skips text that has no event id of its own.
            self._resumable = self._resumable and event.own_id
            self._tell(event.data)
        return False
