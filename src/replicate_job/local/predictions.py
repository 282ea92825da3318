"""All predictions of the server: the running ones in memory, the ended ones in the store."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import OrderedDict
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.decoding import decode
from replicate_job.local.origin import resolve_origin
from replicate_job.local.prediction import Ended, LocalPrediction, ModelEvent, PredictionRequest, new_id
from replicate_job.local.store import PredictionRow
from replicate_job.serving.page import ListPage, read_page
from replicate_job.serving.resource import REMOVED, iso

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from replicate_job.local.store import Store

STOPPED = "the server was stopped before this ended"
_REMOVED_AT_ONCE = 100  # the number of predictions that are removed before other requests are answered
_RETRY_DELAY = 1.0  # seconds until a failed write to the store is tried again
_READ_AT_ONCE = 2**16  # the bytes of a list that are read before other tasks run
_MOST_RECENT, _LARGE = 256, 2**20
"""The most ended predictions that stay in memory with their events, and the most bytes of each of them."""


class Predictions:
    """All predictions of this server.

    With ``retention`` (seconds), a prediction's data are removed that long after its end, and ``on_removed`` is called
    with its id. ``clock`` returns Unix time.

    If the store cannot write the end of a prediction, as on a full disk, the end stays in memory. Writing it is tried
    again every second, when another prediction ends, and on ``close``.
    """

    def __init__(
        self,
        store: Store,
        *,
        retention: float | None = None,
        on_removed: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._clock = store, clock
        self._retention, self._on_removed = retention, on_removed
        newest = store.last()
        self._number, self._latest = (newest.number + 1, newest.created_at) if newest else (0, 0.0)
        self._running: dict[str, LocalPrediction] = {}
        self._unwritten: dict[str, tuple[bytes, float]] = {}  # by id: the body, and the time of the end
        self._recent: OrderedDict[str, LocalPrediction] = OrderedDict()  # in the order of their ends
        self._cancels: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def recover(self) -> list[PredictionRow]:
        """End the predictions that an earlier server left unfinished, as ``failed``, and return them."""
        now = self._clock()
        abandoned = [
            msgspec.structs.replace(row, ended_at=now, body=_failed_body(row, now)) for row in self._store.unfinished()
        ]
        self._unwritten |= {row.id: (row.body, now) for row in abandoned}
        self._sweep()
        return abandoned

    def create(
        self, request: PredictionRequest, work: Callable[[str, asyncio.Event], AsyncGenerator[ModelEvent]]
    ) -> LocalPrediction:
        """Create a prediction, and run ``work(id, canceled)`` for it in the running event loop.

        The work's events change the prediction. ``canceled`` is set when the prediction was canceled or has reached its
        deadline: then the work must stop its model and end by itself.
        """
        # The list is searched by time, so times must rise with the numbers, even if the clock is set back. Times are
        # rounded to microseconds, because clients get times of that precision and use them in queries.
        now = self._latest = max(round(self._clock(), 6), self._latest)
        prediction = LocalPrediction(new_id(), self._number, request, now)
        if request.cancel_after is not None:
            prediction.deadline = now + request.cancel_after
        # Stored before it runs, so that it is not forgotten if the server dies.
        receiver = request.webhook if "completed" in request.webhook_events else ""
        self._store.add(PredictionRow(prediction.number, prediction.id, now, None, receiver, prediction.encode()))
        self._number += 1
        self._running[prediction.id] = prediction
        canceled = self._cancels[prediction.id] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._run(prediction, work(prediction.id, canceled)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if request.cancel_after is not None:
            timer = asyncio.get_running_loop().call_later(request.cancel_after, self._expire, prediction)
            task.add_done_callback(lambda _: timer.cancel())
        return prediction

    async def _run(self, prediction: LocalPrediction, work: AsyncGenerator[ModelEvent]) -> None:
        try:
            async with aclosing(work) as events:
                async for event in events:
                    self._apply(prediction, event)
            # The ends below have no effect if an event of the work has ended the prediction.
            self._end(prediction, "failed", "the model ended without a result")
        except asyncio.CancelledError:
            self._end(prediction, "failed", STOPPED)
            raise
        except Exception as error:  # noqa: BLE001 - after any error, the caller must see that the prediction has ended
            self._end(prediction, "failed", str(error) or type(error).__name__)
        finally:
            del self._cancels[prediction.id]

    def _apply(self, prediction: LocalPrediction, event: ModelEvent) -> None:
        now = self._clock()
        if not prediction.apply(event, now) or not prediction.is_terminal:
            return
        # From here on, every reader gets the ended prediction, even if the store cannot write it now.
        body = prediction.encode()
        self._unwritten[prediction.id] = body, now
        if prediction.status == "succeeded":
            with suppress(sqlite3.Error):  # after an error, a later prediction becomes the example
                self._store.note_example(prediction.request.model, prediction.id, is_own=prediction.request.is_example)
        del self._running[prediction.id]
        if len(body) <= _LARGE:
            self._recent[prediction.id] = prediction
            if len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)
        if not self._write_ends() or self._timer is None:
            self._sweep()

    def _write_ends(self) -> bool:
        """Write all unwritten ends. Returns whether the store has every end now."""
        with suppress(sqlite3.Error):
            # On a full disk, a small end may still fit when a large one does not.
            for id, (body, ended_at) in sorted(self._unwritten.items(), key=_size):  # noqa: A001 - the API's own name
                self._store.end(id, body, ended_at)
                del self._unwritten[id]
        return not self._unwritten

    def _sweep(self) -> None:
        """Write the unwritten ends, remove the data whose retention is over, and set a timer for the next sweep."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if self._is_closed:
            return
        try:
            wait = self._remove_due() if self._write_ends() else _RETRY_DELAY
        except sqlite3.Error:
            wait = _RETRY_DELAY
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._sweep)

    def _remove_due(self) -> float | None:
        """Remove data whose retention is over. Returns the seconds until the next removal.

        None if there are no data to remove later.
        """
        if self._retention is None:
            return None
        for row in self._store.due(self._clock() - self._retention, _REMOVED_AT_ONCE):
            self._recent.pop(row.id, None)
            self._on_removed(row.id)  # before the store is changed: after a crash in between, both steps are repeated
            self._store.remove(row.id, _emptied_body(row))
        first_end = self._store.next_due()
        return None if first_end is None else max(first_end + self._retention - self._clock(), 0.0)

    def _end(self, prediction: LocalPrediction, status: str, error: str | None = None) -> None:
        self._apply(prediction, Ended(status, error=error))

    def _expire(self, prediction: LocalPrediction) -> None:
        """End a prediction at its deadline, as Replicate does: ``aborted`` if it has not started, else ``canceled``."""
        self._cancel(prediction, "aborted" if prediction.started_at is None else "canceled")

    def _cancel(self, prediction: LocalPrediction, status: str) -> None:
        if canceled := self._cancels.get(prediction.id):
            canceled.set()  # first, because ending the prediction may fail on a full disk
        self._end(prediction, status)

    def get(self, id: str) -> LocalPrediction | None:  # noqa: A002 - the API's own name
        """A prediction that is in memory with its events, because it runs or ended recently. None for any other."""
        return self._running.get(id) or self._recent.get(id)

    def body(self, id: str, here: str) -> bytes | None:  # noqa: A002 - the API's own name
        """The current object of any prediction as JSON; None for an unknown id.

        ``here`` is the origin that the object's addresses on this server get.
        """
        if running := self._running.get(id):
            return resolve_origin(running.encode(), here)
        if unwritten := self._unwritten.get(id):
            return resolve_origin(unwritten[0], here)
        row = self._store.get(id)
        return resolve_origin(row.body, here) if row else None

    def example(self, model: str, here: str) -> bytes | None:
        """The object of a model's example, as ``body`` returns it. ``model`` is ``owner/name``.

        The example is the first prediction of the model that succeeded and still exists. A prediction with the input of
        the model's ``example.json`` is preferred.
        """
        id = self._store.example(model)  # noqa: A001 - the API's own name
        return self.body(id, here) if id else None

    def cancel(self, id: str) -> None:  # noqa: A002 - the API's own name
        """End a running prediction as ``canceled``. Its model is asked to stop, and killed if it runs on."""
        if running := self._running.get(id):
            self._cancel(running, "canceled")

    def delete(self, id: str) -> None:  # noqa: A002 - the API's own name
        """Remove an ended prediction, with its files. A running prediction is not changed."""
        if id in self._running or self._store.get(id) is None:
            return
        self._on_removed(id)  # before the row is deleted: after a crash in between, the prediction can be deleted again
        self._store.delete(id)
        self._unwritten.pop(id, None)
        self._recent.pop(id, None)

    async def wait(self, prediction: LocalPrediction, seconds: float) -> bool:
        """Wait until the prediction has ended, ``seconds`` at most. Returns whether it has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not prediction.is_terminal:
                    await prediction.changed.wait()
        return prediction.is_terminal

    async def events(self, prediction: LocalPrediction) -> AsyncGenerator[ModelEvent]:
        """All events of a prediction, from the first to its end. Future events are yielded as they happen."""
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
        """A page of the bodies of predictions that were created in [``created_after``, ``created_before``), Unix times.

        ``here`` is as in ``body``. Raises RefusedError for a cursor that this list did not return.
        """
        page = read_page(range(*self._store.bounds(created_after, created_before)), int, cursor)
        start, end = (page.items[-1], page.items[0] + 1) if page.items else (0, 0)
        # The bodies in memory are read before the stored ones. Other tasks run in between, and may end predictions.
        fresh = {id: body for id, (body, _) in self._unwritten.items()}  # noqa: A001 - the API's own name
        running = [prediction for prediction in self._running.values() if start <= prediction.number < end]
        fresh |= {prediction.id: prediction.encode() for prediction in running}
        bodies, size = [], 0
        for row in self._store.between(start, end):
            bodies.append(resolve_origin(fresh.get(row.id, row.body), here))
            size += len(bodies[-1])
            if size > _READ_AT_ONCE:
                size = 0
                await asyncio.sleep(0)
        return ListPage(bodies, page.next, page.previous)

    async def close(self) -> None:
        """End the running predictions as ``failed``, with ``STOPPED`` as their error."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._write_ends()
        self._is_closed = True
        if self._timer:
            self._timer.cancel()


def _size(item: tuple[str, tuple[bytes, float]]) -> int:
    return len(item[1][0])


def _failed_body(row: PredictionRow, now: float) -> bytes:
    end = {
        "status": "failed",
        "error": STOPPED,
        "completed_at": iso(now),
        "metrics": {"total_time": now - row.created_at},
    }
    return msgspec.json.encode(decode(row.body, dict[str, Any]) | end)


def _emptied_body(row: PredictionRow) -> bytes:
    return msgspec.json.encode(decode(row.body, dict[str, Any]) | REMOVED)
