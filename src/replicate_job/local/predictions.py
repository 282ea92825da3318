"""Every prediction of the server: those that run, in memory, and those that have ended, in the store."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import OrderedDict
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.local.origin import placed
from replicate_job.local.prediction import Call, Ended, Event, Prediction, new_id
from replicate_job.local.store import Row
from replicate_job.serving.resource import iso

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from replicate_job.local.store import Store

PAGE = 100
"""Predictions on a page of the list, as the API has it."""
STOPPED = "the server was stopped before this ended"
_SWEPT = 100  # at a time, so that requests come between
_LONGEST_CURSOR = 19  # a letter and a number that SQLite can hold


_RECENT, _LARGE = 256, 2**20
"""So many that have ended stay at hand for readers of their events, unless they are larger than this (bytes)."""


class Page(msgspec.Struct, frozen=True):
    """Bodies, newest first. ``next`` (older ones) and ``previous`` are cursors, None where there is nothing more."""

    bodies: list[bytes]
    next: str | None
    previous: str | None


class Predictions:
    """Every prediction of this server: those that run, and from the store those that have ended.

    With ``keep``, a prediction's data are removed so many seconds after its end, and ``on_removed`` hears its id.
    ``clock`` gives Unix time.
    """

    def __init__(
        self,
        store: Store,
        *,
        keep: float | None = None,
        on_removed: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._clock = store, clock
        self._keep, self._on_removed = keep, on_removed
        newest = store.last()
        self._number, self._latest = (newest.number + 1, newest.created_at) if newest else (0, 0.0)
        self._running: dict[str, Prediction] = {}
        self._ended: OrderedDict[str, Prediction] = OrderedDict()
        self._cancels: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def recover(self) -> list[Row]:
        """End, as ``failed``, what an earlier server left unfinished, and give it."""
        left, now = self._store.unfinished(), self._clock()
        for row in left:
            self._store.end(row.id, _abandoned(row, now), now)
        self._sweep()
        return [found for row in left if (found := self._store.get(row.id))]

    def create(self, call: Call, work: Callable[[str, asyncio.Event], AsyncGenerator[Event]]) -> Prediction:
        """Start ``work(id, canceled)``, whose events make the prediction, in the running event loop.

        ``canceled`` is set when nobody wants the result any more; the work goes on reading its model's end, so
        that a model is never left half stopped.
        """
        # A list that is ordered by time can be searched by time: a clock set back must not disorder it, and what the
        # client sees of the time, microseconds, must be all of it.
        now = self._latest = max(round(self._clock(), 6), self._latest)
        prediction = Prediction(new_id(), self._number, call, now)
        if call.cancel_after is not None:
            prediction.deadline = now + call.cancel_after
        body = prediction.encode()
        told = call.webhook if "completed" in call.webhook_events else ""
        self._store.add(Row(prediction.number, prediction.id, now, None, told, body))
        self._number += 1
        self._running[prediction.id] = prediction
        canceled = self._cancels[prediction.id] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._drive(prediction, work(prediction.id, canceled)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if call.cancel_after is not None:
            timer = asyncio.get_running_loop().call_later(call.cancel_after, self._expire, prediction)
            task.add_done_callback(lambda _: timer.cancel())
        return prediction

    async def _drive(self, prediction: Prediction, work: AsyncGenerator[Event]) -> None:
        try:
            async with aclosing(work) as events:
                async for event in events:
                    self._apply(prediction, event)
            self._stop(prediction, "failed", "the model ended without a result")
        except asyncio.CancelledError:
            self._stop(prediction, "failed", STOPPED)
            raise
        except Exception as error:  # noqa: BLE001 - whatever goes wrong behind a prediction, its caller must see an end
            self._stop(prediction, "failed", str(error) or type(error).__name__)
        finally:
            del self._cancels[prediction.id]

    def _apply(self, prediction: Prediction, event: Event) -> None:
        now = self._clock()
        if not prediction.apply(event, now) or not prediction.is_terminal:
            return
        body = prediction.encode()
        self._store.end(prediction.id, body, now)
        del self._running[prediction.id]
        if len(body) <= _LARGE:
            self._ended[prediction.id] = prediction
            if len(self._ended) > _RECENT:
                self._ended.popitem(last=False)
        if self._timer is None:
            self._sweep()

    def _sweep(self) -> None:
        """Remove the data whose time is over, and come back when the next's is."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if self._keep is None or self._is_closed:
            return
        for row in self._store.due(self._clock() - self._keep, _SWEPT):
            self._ended.pop(row.id, None)
            self._store.remove(row.id, _emptied(row))
            self._on_removed(row.id)
        ended = self._store.next_due()
        if ended is not None:
            wait = max(ended + self._keep - self._clock(), 0.0)
            self._timer = asyncio.get_running_loop().call_later(wait, self._sweep)

    def _stop(self, prediction: Prediction, status: str, error: str | None = None) -> None:
        self._apply(prediction, Ended(status, error=error))

    def _expire(self, prediction: Prediction) -> None:
        self._give_up(prediction, "aborted" if prediction.started_at is None else "canceled")

    def _give_up(self, prediction: Prediction, status: str) -> None:
        if canceled := self._cancels.get(prediction.id):
            canceled.set()  # first: what follows may find the disk full
        self._stop(prediction, status)

    def get(self, id: str) -> Prediction | None:  # noqa: A002 - the API's own name
        """One that runs, or ended not long ago: its events are at hand."""
        return self._running.get(id) or self._ended.get(id)

    def body(self, id: str, here: str) -> bytes | None:  # noqa: A002 - the API's own name
        """Any of them as it is now, with addresses as the client of ``here`` reaches them."""
        if running := self._running.get(id):
            return placed(running.encode(), here)
        row = self._store.get(id)
        return placed(row.body, here) if row else None

    def cancel(self, id: str) -> None:  # noqa: A002 - the API's own name
        """End it as ``canceled``, if it runs. Its model is told, and stopped by force if it goes on."""
        if running := self._running.get(id):
            self._give_up(running, "canceled")

    async def wait(self, prediction: Prediction, seconds: float) -> bool:
        """Whether it ended within this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not prediction.is_terminal:
                    await prediction.changed.wait()
        return prediction.is_terminal

    async def events(self, prediction: Prediction, start: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Everything that happened and happens to it from the event at ``start`` on, to its end."""
        position = max(start, 0)
        while True:
            while position < len(prediction.events):
                yield position, prediction.events[position]
                position += 1
            if prediction.is_terminal:
                return
            await prediction.changed.wait()

    def page(
        self,
        here: str,
        cursor: str | None = None,
        created_after: float | None = None,
        created_before: float | None = None,
    ) -> Page:
        """One page of the list: created at or after the one time, and before the other; ``here`` as in ``body``.

        Raises ValueError for a cursor that is not from here.
        """
        low, high = self._store.bounds(created_after, created_before)
        end, start = high, max(high - PAGE, low)
        if cursor is not None:
            older, number = _read_cursor(cursor)
            if older:
                end = min(max(number, low), high)
                start = max(end - PAGE, low)
            else:
                start = min(max(number, low), high)
                end = min(start + PAGE, high)
        rows = self._store.between(start, end)
        return Page(
            [placed(self._running[row.id].encode() if row.id in self._running else row.body, here) for row in rows],
            next=_cursor("o", start) if start > low else None,
            previous=_cursor("n", end) if end < high else None,
        )

    async def close(self) -> None:
        """End what still runs: as ``failed``, with the reason."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._is_closed = True
        if self._timer:
            self._timer.cancel()


def _abandoned(row: Row, now: float) -> bytes:
    end = {
        "status": "failed",
        "error": STOPPED,
        "completed_at": iso(now),
        "metrics": {"total_time": now - row.created_at},
    }
    return msgspec.json.encode(msgspec.json.decode(row.body, type=dict[str, Any]) | end)


def _emptied(row: Row) -> bytes:
    nothing: dict[str, Any] = {"input": {}, "output": None, "logs": "", "data_removed": True}
    return msgspec.json.encode(msgspec.json.decode(row.body, type=dict[str, Any]) | nothing)


def _cursor(direction: str, number: int) -> str:
    return base64.urlsafe_b64encode(f"{direction}{number}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[bool, int]:
    text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
    if text[:1] not in {"o", "n"} or not text[1:].isdecimal() or len(text) > _LONGEST_CURSOR:
        raise ValueError(f"{cursor!r} is not a cursor of this list")
    return text[0] == "o", int(text[1:])
