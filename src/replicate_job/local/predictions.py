"""Every prediction of the server: those that run, in memory, and those that have ended, in the store."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import OrderedDict
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.local.origin import resolve_origin
from replicate_job.local.prediction import Ended, LocalPrediction, ModelEvent, PredictionRequest, new_id
from replicate_job.local.store import PredictionRow
from replicate_job.serving.page import ListPage, read_page
from replicate_job.serving.resource import REMOVED, iso

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from replicate_job.local.store import Store

STOPPED = "the server was stopped before this ended"
_SWEPT = 100  # at a time, so that requests come between
_AGAIN = 1.0  # seconds until the store is tried again
_AT_ONCE = 2**16  # bytes of a list that are read before others have their turn
_RECENT, _LARGE = 256, 2**20
"""So many that have ended stay at hand for readers of their events, unless they are larger than this (bytes)."""


class Predictions:
    """Every prediction of this server: those that run, and from the store those that have ended.

    With ``keep``, a prediction's data are removed so many seconds after its end, and ``on_removed`` hears its id.
    ``clock`` gives Unix time. An end that the store cannot take, as on a full disk, is kept in memory and tried again:
    at the next end, every second, and when it is closed.
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
        self._running: dict[str, LocalPrediction] = {}
        self._unwritten: dict[str, tuple[bytes, float]] = {}  # bodies, and when they ended
        self._ended: OrderedDict[str, LocalPrediction] = OrderedDict()
        self._cancels: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def recover(self) -> list[PredictionRow]:
        """End, as ``failed``, what an earlier server left unfinished, and give it."""
        now = self._clock()
        left = [
            msgspec.structs.replace(row, ended_at=now, body=_abandoned(row, now)) for row in self._store.unfinished()
        ]
        self._unwritten |= {row.id: (row.body, now) for row in left}
        self._sweep()
        return left

    def create(
        self, call: PredictionRequest, work: Callable[[str, asyncio.Event], AsyncGenerator[ModelEvent]]
    ) -> LocalPrediction:
        """Start ``work(id, canceled)``, whose events make the prediction, in the running event loop.

        ``canceled`` is set when nobody wants the result any more; the work goes on reading its model's end, so
        that a model is never left half stopped.
        """
        # A list that is ordered by time can be searched by time: a clock set back must not disorder it, and what the
        # client sees of the time, microseconds, must be all of it.
        now = self._latest = max(round(self._clock(), 6), self._latest)
        prediction = LocalPrediction(new_id(), self._number, call, now)
        if call.cancel_after is not None:
            prediction.deadline = now + call.cancel_after
        body = prediction.encode()
        told = call.webhook if "completed" in call.webhook_events else ""
        self._store.add(PredictionRow(prediction.number, prediction.id, now, None, told, body))
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

    async def _drive(self, prediction: LocalPrediction, work: AsyncGenerator[ModelEvent]) -> None:
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

    def _apply(self, prediction: LocalPrediction, event: ModelEvent) -> None:
        now = self._clock()
        if not prediction.apply(event, now) or not prediction.is_terminal:
            return
        body = prediction.encode()
        self._unwritten[prediction.id] = body, now
        del self._running[prediction.id]
        if len(body) <= _LARGE:
            self._ended[prediction.id] = prediction
            if len(self._ended) > _RECENT:
                self._ended.popitem(last=False)
        if not self._write() or self._timer is None:
            self._sweep()

    def _write(self) -> bool:
        """Whether the store now has every end."""
        with suppress(sqlite3.Error):
            # The smallest first: where it does not fit, nothing does.
            for id, (body, ended) in sorted(self._unwritten.items(), key=_size):  # noqa: A001 - the API's own name
                self._store.end(id, body, ended)
                del self._unwritten[id]
        return not self._unwritten

    def _sweep(self) -> None:
        """Write what ended, remove the data whose time is over, and come back when there is more to do."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if self._is_closed:
            return
        try:
            wait = self._remove_due() if self._write() else _AGAIN
        except sqlite3.Error:
            wait = _AGAIN
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._sweep)

    def _remove_due(self) -> float | None:
        """Seconds until there are more; None where nothing is to be removed any more."""
        if self._keep is None:
            return None
        for row in self._store.due(self._clock() - self._keep, _SWEPT):
            self._ended.pop(row.id, None)
            self._on_removed(row.id)  # first: what is noted as done is not done again after a crash
            self._store.remove(row.id, _emptied(row))
        ended = self._store.next_due()
        return None if ended is None else max(ended + self._keep - self._clock(), 0.0)

    def _stop(self, prediction: LocalPrediction, status: str, error: str | None = None) -> None:
        self._apply(prediction, Ended(status, error=error))

    def _expire(self, prediction: LocalPrediction) -> None:
        self._give_up(prediction, "aborted" if prediction.started_at is None else "canceled")

    def _give_up(self, prediction: LocalPrediction, status: str) -> None:
        if canceled := self._cancels.get(prediction.id):
            canceled.set()  # first: what follows may find the disk full
        self._stop(prediction, status)

    def get(self, id: str) -> LocalPrediction | None:  # noqa: A002 - the API's own name
        """One that runs, or ended not long ago: its events are at hand."""
        return self._running.get(id) or self._ended.get(id)

    def body(self, id: str, here: str) -> bytes | None:  # noqa: A002 - the API's own name
        """Any of them as it is now, with addresses as the client of ``here`` reaches them."""
        if running := self._running.get(id):
            return resolve_origin(running.encode(), here)
        if unwritten := self._unwritten.get(id):
            return resolve_origin(unwritten[0], here)
        row = self._store.get(id)
        return resolve_origin(row.body, here) if row else None

    def cancel(self, id: str) -> None:  # noqa: A002 - the API's own name
        """End it as ``canceled``, if it runs. Its model is told, and stopped by force if it goes on."""
        if running := self._running.get(id):
            self._give_up(running, "canceled")

    def delete(self, id: str) -> None:  # noqa: A002 - the API's own name
        """Remove one that has ended, with its files. Another one stays."""
        if id in self._running or self._store.get(id) is None:
            return
        self._on_removed(id)  # first: the row is how a second attempt finds what is left after a crash
        self._store.delete(id)
        self._unwritten.pop(id, None)
        self._ended.pop(id, None)

    async def wait(self, prediction: LocalPrediction, seconds: float) -> bool:
        """Whether it ended within this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not prediction.is_terminal:
                    await prediction.changed.wait()
        return prediction.is_terminal

    async def events(self, prediction: LocalPrediction) -> AsyncGenerator[ModelEvent]:
        """Everything that happened and happens to it, to its end."""
        position = 0
        while True:
            while position < len(prediction.events):
                yield prediction.events[position]
                position += 1
            if prediction.is_terminal:
                return
            await prediction.changed.wait()

    async def page(
        self,
        here: str,
        cursor: str | None = None,
        created_after: float | None = None,
        created_before: float | None = None,
    ) -> ListPage[bytes]:
        """Bodies of those created at or after the one time, and before the other; ``here`` as in ``body``.

        Raises RefusedError for a cursor that is not from here.
        """
        page = read_page(range(*self._store.bounds(created_after, created_before)), int, cursor)
        start, end = (page.items[-1], page.items[0] + 1) if page.items else (0, 0)
        # As of now, all of them: others have their turns while the rest is read, and predictions end in these.
        fresh = {id: body for id, (body, _) in self._unwritten.items()}  # noqa: A001 - the API's own name
        fresh |= {each.id: each.encode() for each in self._running.values() if start <= each.number < end}
        bodies, size = [], 0
        for row in self._store.between(start, end):
            bodies.append(resolve_origin(fresh.get(row.id, row.body), here))
            size += len(bodies[-1])
            if size > _AT_ONCE:
                size = 0
                await asyncio.sleep(0)
        return ListPage(bodies, page.next, page.previous)

    async def close(self) -> None:
        """End what still runs: as ``failed``, with the reason."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._write()
        self._is_closed = True
        if self._timer:
            self._timer.cancel()


def _size(item: tuple[str, tuple[bytes, float]]) -> int:
    return len(item[1][0])


def _abandoned(row: PredictionRow, now: float) -> bytes:
    end = {
        "status": "failed",
        "error": STOPPED,
        "completed_at": iso(now),
        "metrics": {"total_time": now - row.created_at},
    }
    return msgspec.json.encode(msgspec.json.decode(row.body, type=dict[str, Any]) | end)


def _emptied(row: PredictionRow) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(row.body, type=dict[str, Any]) | REMOVED)
