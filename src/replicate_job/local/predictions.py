"""Predictions and their states. Knows no HTTP and no model: what a model does arrives as events.

``starting`` goes to ``processing`` or to an end, ``processing`` to an end, and an end (``succeeded``, ``failed``,
``canceled``, ``aborted``) is never left: whatever arrives after it is dropped.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from bisect import bisect_left
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.wire.prediction import TERMINAL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

PAGE = 100
"""Predictions on a page of the list, as the API has it."""


class Started(msgspec.Struct, frozen=True):
    """The model began."""


class Logged(msgspec.Struct, frozen=True):
    """``text`` as the model printed it, line ends included."""

    text: str


class Produced(msgspec.Struct, frozen=True):
    """A piece of the output. ``part`` where the output is a list and this its next item, else the whole of it."""

    value: Any
    part: bool = False


class Ended(msgspec.Struct, frozen=True):
    """``output`` is the whole output; the pieces that came before it do not matter any more."""

    status: str
    output: Any = None
    error: str | None = None
    metrics: dict[str, Any] = {}


Event = Started | Logged | Produced | Ended


class Prediction:
    """What is known of one prediction; only ``apply`` changes it. Times are Unix times in seconds.

    ``events`` is all that happened, in order: a stream is a reading of it from some position on.
    """

    def __init__(self, *, id: str, number: int, model: str, version: str, input: dict[str, Any], at: float) -> None:  # noqa: A002, PLR0913 - the fields' own names, one argument a fact
        self.id, self.number, self.model, self.version, self.input = id, number, model, version, input
        self.created_at = at
        self.started_at: float | None = None
        self.completed_at: float | None = None
        self.deadline: float | None = None
        self.status = "starting"
        self.output: Any = None
        self.error: str | None = None
        self.metrics: dict[str, Any] = {}
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        self._logs: list[str] = []
        self._parts: list[Any] = []

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def logs(self) -> str:
        if len(self._logs) > 1:
            self._logs = ["".join(self._logs)]
        return self._logs[0] if self._logs else ""

    def apply(self, event: Event, now: float) -> bool:
        """Take an event in; False, and nothing changed, where the prediction had ended already."""
        if self.is_terminal:
            return False
        match event:
            case Started():
                self._begin(now)
            case Logged():
                self._logs.append(event.text)
            case Produced(part=True):
                self._begin(now)
                self._parts.append(event.value)
                self.output = self._parts
            case Produced():
                self._begin(now)
                self.output = event.value
            case Ended():
                self._end(event, now)
        self.events.append(event)
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        return True

    def _begin(self, now: float) -> None:
        if self.started_at is None:
            self.status, self.started_at = "processing", now

    def _end(self, event: Ended, now: float) -> None:
        if event.status not in TERMINAL:
            raise ValueError(f"{event.status!r} is not an end")
        self.status, self.error, self.completed_at = event.status, event.error, now
        if event.status == "succeeded":
            self.output = event.output
        spent = {} if self.started_at is None else {"predict_time": max(now - self.started_at, 0.0)}
        self.metrics = {**spent, **event.metrics, "total_time": max(now - self.created_at, 0.0)}


class Page(msgspec.Struct, frozen=True):
    """Newest first. ``next`` (older ones) and ``previous`` are cursors, None where there is nothing more."""

    predictions: list[Prediction]
    next: str | None
    previous: str | None


class Predictions:
    """Every prediction of this server. ``clock`` gives Unix time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, Prediction] = {}
        self._order: list[Prediction] = []  # oldest first; a prediction's number is its place
        self._cancels: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def create(
        self,
        work: Callable[[str, asyncio.Event], AsyncGenerator[Event]],
        *,
        model: str,
        version: str,
        input: dict[str, Any],  # noqa: A002 - the API's own name
        cancel_after: float | None = None,
    ) -> Prediction:
        """Start ``work(id, canceled)``, whose events make the prediction, in the running event loop.

        ``canceled`` is set when nobody wants the result any more; the work goes on reading its model's end, so
        that a model is never left half stopped. ``cancel_after`` is in seconds.
        """
        # A list that is ordered by time can be searched by time: a clock set back must not disorder it.
        now = max(self._clock(), self._order[-1].created_at if self._order else 0.0)
        prediction = Prediction(id=new_id(), number=len(self._order), model=model, version=version, input=input, at=now)
        self._known[prediction.id] = prediction
        self._order.append(prediction)
        canceled = self._cancels[prediction.id] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._drive(prediction, work(prediction.id, canceled)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if cancel_after is not None:
            prediction.deadline = now + cancel_after
            timer = asyncio.get_running_loop().call_later(cancel_after, self._expire, prediction)
            task.add_done_callback(lambda _: timer.cancel())
        return prediction

    async def _drive(self, prediction: Prediction, work: AsyncGenerator[Event]) -> None:
        try:
            async with aclosing(work) as events:
                async for event in events:
                    prediction.apply(event, self._clock())
            self._stop(prediction, "failed", "the model ended without a result")
        except asyncio.CancelledError:
            self._stop(prediction, "failed", "the server was stopped")
            raise
        except Exception as error:  # noqa: BLE001 - whatever goes wrong behind a prediction, its caller must see an end
            self._stop(prediction, "failed", str(error) or type(error).__name__)
        finally:
            del self._cancels[prediction.id]

    def _stop(self, prediction: Prediction, status: str, error: str | None = None) -> None:
        prediction.apply(Ended(status, error=error), self._clock())

    def _expire(self, prediction: Prediction) -> None:
        self._give_up(prediction, "aborted" if prediction.started_at is None else "canceled")

    def _give_up(self, prediction: Prediction, status: str) -> None:
        self._stop(prediction, status)
        with suppress(KeyError):
            self._cancels[prediction.id].set()

    def get(self, id: str) -> Prediction | None:  # noqa: A002 - the API's own name
        return self._known.get(id)

    def cancel(self, prediction: Prediction) -> None:
        """End it as ``canceled``, unless it has ended. Its model is told, and stopped by force if it goes on."""
        if not prediction.is_terminal:
            self._give_up(prediction, "canceled")

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
        self, cursor: str | None = None, created_after: float | None = None, created_before: float | None = None
    ) -> Page:
        """One page of the list: created at or after the one time, and before the other.

        Raises ValueError for a cursor that is not from here.
        """
        low, high = 0, len(self._order)
        if created_after is not None:
            low = bisect_left(self._order, created_after, key=_created)
        if created_before is not None:
            high = max(bisect_left(self._order, created_before, key=_created), low)
        end, start = high, max(high - PAGE, low)
        if cursor is not None:
            older, number = _read_cursor(cursor)
            if older:
                end = min(max(number, low), high)
                start = max(end - PAGE, low)
            else:
                start = min(max(number, low), high)
                end = min(start + PAGE, high)
        return Page(
            self._order[start:end][::-1],
            next=_cursor("o", start) if start > low else None,
            previous=_cursor("n", end) if end < high else None,
        )

    async def close(self) -> None:
        """End what still runs: as ``failed``, with the reason."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def new_id() -> str:
    """26 letters and digits, as the API's ids are; no path, no meaning."""
    return base64.b32encode(os.urandom(16)).decode().rstrip("=").lower()


def _created(prediction: Prediction) -> float:
    return prediction.created_at


def _cursor(direction: str, number: int) -> str:
    return base64.urlsafe_b64encode(f"{direction}{number}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[bool, int]:
    text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
    if text[:1] not in {"o", "n"} or not text[1:].isdecimal():
        raise ValueError(f"{cursor!r} is not a cursor of this list")
    return text[0] == "o", int(text[1:])
