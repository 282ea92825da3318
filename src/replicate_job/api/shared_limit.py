"""An account's rate limit: shared by all threads of the process, and by other processes as a row in a store."""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Any

import msgspec

from replicate_job.api.ratelimit import LONGEST, Quota, RateLimit, RateState, Slot
from replicate_job.clock import Clock, Moment
from replicate_job.decoding import decode
from replicate_job.forks import on_fork

BLOCK = 0.25
"""A process reserves the slots of this many seconds together, so that a busy process writes the row four times a
second."""
AHEAD = 1.0
"""A slot can be reserved at most this many seconds early, so that waiting processes take turns."""
REPORTS = 1000
"""The number of responses that are remembered for the row while the store fails."""
ALONE = 5.0
"""Seconds for which a process keeps to the limit without the other processes after the store has failed."""


class Draft(msgspec.Struct, frozen=True):
    """A row to write in place of the row ``seen``. After the write, ``slots`` belong to this process.

    ``reports`` is the number of the last report that the row includes. ``at`` is the clock's ``now``.
    """

    seen: str
    text: str
    state: RateState
    slots: list[Slot]
    reports: int
    at: float


class _Row(msgspec.Struct, frozen=True):
    """The stored row: the state, and the time when it was written."""

    at: Moment
    state: RateState


class _Report(msgspec.Struct, frozen=True):
    """A response that is not in the row yet. ``throttled``: it was a 429."""

    number: int
    slot: Slot
    at: float
    throttled: bool = False
    retry_after: float | None = None
    quota: Quota | None = None


class _Queue:
    """The tasks of one event loop that wait for a slot."""

    def __init__(self) -> None:
        self.turn, self.waiting = asyncio.Lock(), 0


class SharedLimit:
    """A process's copy of an account's rate limit: the reserved slots, and what was learned from responses. No I/O.

    Every method may be called from any thread.
    """

    def __init__(self, limit: RateLimit | None = None) -> None:
        self._lock = threading.Lock()
        self._limit = limit or RateLimit(None)
        self._rates: list[float | None] = []
        self.left_at = 0.0
        self._queues: dict[asyncio.AbstractEventLoop, _Queue] = {}
        self._block: list[Slot] = []  # a heap
        self._size, self._reserved_at = 1, -LONGEST
        self._reports: deque[_Report] = deque(maxlen=REPORTS)
        self._reported = 0
        self._has_refusals = False
        self._seen, self._seen_at = "", -LONGEST
        self._alone_until = -LONGEST

    def enter(self, rate: float | None) -> None:
        """Add a session with this rate. The lowest rate of all open sessions applies."""
        with self._lock:
            self._rates.append(rate)
            self._choose_rate()

    def leave(self, rate: float | None) -> None:
        with self._lock:
            self._rates.remove(rate)
            self.left_at = time.monotonic()
            if self._rates:
                self._choose_rate()

    def _choose_rate(self) -> None:
        self._limit.rate = min((rate for rate in self._rates if rate is not None), default=None)

    @property
    def is_open(self) -> bool:
        return bool(self._rates)

    @property
    def pace(self) -> float | None:
        return self._limit.pace

    def paused(self, now: float) -> float:
        return self._limit.paused(now)

    @contextmanager
    def queue(self) -> Iterator[asyncio.Lock]:
        """Join this event loop's queue for slots. The yielded lock is held while a task waits for its slot."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for ended in [other for other in self._queues if other.is_closed()]:
                del self._queues[ended]
            queue = self._queues.setdefault(loop, _Queue())
            queue.waiting += 1
        try:
            yield queue.turn
        finally:
            with self._lock:
                queue.waiting -= 1
                if not queue.waiting and self._queues.get(loop) is queue:
                    del self._queues[loop]

    def take_free(self, now: float) -> Slot | None:
        """A slot for now if no limit is known, else None."""
        with self._lock:
            return self._limit.take(now) if self._limit.pace is None else None

    def take_now(self, now: float) -> Slot | None:
        """A slot that can be used now, or None.

        Without a limit it is a new slot. With a limit it is a reserved slot, which is not taken from a waiting task.
        """
        with self._lock:
            if self._limit.pace is None:
                return self._limit.take(now)
            is_due = not self._queues and self._block and self._block[0].sent <= now
        return self.take_reserved(now) if is_due else None

    def take_reserved(self, now: float) -> Slot | None:
        """The first reserved slot that may still be used, or None.

        Slots that were not used in time are dropped: meanwhile other processes may have been idle, and may send a
        burst.
        """
        with self._lock:
            while self._block:
                slot = heapq.heappop(self._block)
                if self._limit.holds(slot) and slot.sent >= now - BLOCK:
                    return slot
            return None

    def give_back(self, slot: Slot) -> None:
        with self._lock:
            heapq.heappush(self._block, slot)

    def is_valid(self, slot: Slot) -> bool:
        """Whether the slot may still be used.

        A 429 makes all slots that were reserved earlier invalid. A quota makes the slots beyond the quota invalid.
        """
        with self._lock:
            return self._limit.holds(slot)

    def too_early(self, now: float) -> float:
        """Seconds until another slot can be reserved."""
        with self._lock:
            return self._limit.wait(now + AHEAD)

    def take_alone(self, now: float) -> Slot:
        """Take the next slot without the store."""
        with self._lock:
            return self._limit.take(max(now, self._limit.next))

    def is_alone(self, now: float) -> bool:
        return now < self._alone_until

    def go_alone(self, now: float) -> None:
        """Keep to the limit without the store for a while, because it has failed."""
        self._alone_until = now + ALONE

    def is_stale(self, now: float) -> bool:
        """Whether the row was read so long ago that another process may have got a 429 since then."""
        return now - self._seen_at > 2 * BLOCK

    def accepted(self, slot: Slot, now: float, quota: Quota | None = None, *, stored: bool) -> None:
        """Record a response other than 429, and its quota. ``stored``: also remember the response for the row."""
        with self._lock:
            self._limit.accepted(slot, now, quota)
            if stored:
                self._remember(slot, now, quota=quota)

    def throttled(self, slot: Slot, now: float, retry_after: float | None, *, stored: bool) -> None:
        with self._lock:
            self._limit.throttled(slot, now, retry_after)
            if stored:
                self._remember(slot, now, throttled=True, retry_after=retry_after)

    def _remember(self, slot: Slot, at: float, **facts: Any) -> None:
        """Remember a response for the row. If there is no pace, ignore it: other processes learn nothing from it."""
        if self._limit.pace is not None:
            self._reported += 1
            self._reports.append(_Report(self._reported, slot, at, **facts))

    def _apply(self, report: _Report) -> None:
        if report.throttled:
            self._limit.throttled(report.slot, report.at, report.retry_after)
        else:
            self._limit.accepted(report.slot, report.at, report.quota)

    @property
    def has_lesson(self) -> bool:
        """Whether the row lacks a response that other processes need, from a time with 429s."""
        with self._lock:
            return bool(self._reports) and (self._has_refusals or any(report.throttled for report in self._reports))

    def draft(self, clock: Clock, wall: float, *, reserve: bool = True) -> Draft:
        """A new row with the responses that the row lacks. With ``reserve``, the row also reserves the next slots.

        ``wall`` is Unix time by the store's clock.
        """
        with self._lock:
            now = clock.now()
            limit = RateLimit(self._limit.rate)
            limit.state = msgspec.structs.replace(self._limit.state)
            slots = _take_block(limit, now, self._wanted(now)) if reserve else []
            at = Moment(wall, clock.boot, now)
            text = msgspec.json.encode(_Row(at, limit.state)).decode()
            return Draft(self._seen, text, limit.state, slots, self._reported, now)

    def _wanted(self, now: float) -> int:
        """The number of slots to reserve: one for each waiting task.

        If the last reservation was a short time ago, at least twice its number.
        """
        likely = 2 * self._size if now - self._reserved_at < 2 * BLOCK else 1
        return max(likely, sum(queue.waiting for queue in self._queues.values()))

    def written(self, draft: Draft) -> None:
        """Apply a draft that was written as the row."""
        with self._lock:
            self._replace(draft.state, draft.reports)
            self._seen, self._seen_at = draft.text, draft.at
            if draft.slots:
                self._size, self._reserved_at = len(draft.slots), draft.at
            for slot in draft.slots:
                heapq.heappush(self._block, slot)

    def adopt(self, text: str, clock: Clock, wall: float) -> None:
        """Adopt a row that another process has written. ``text`` is empty if the row was deleted."""
        with self._lock:
            self._seen_at = clock.now()
            if text == self._seen:  # written by another thread of this process
                return
            with suppress(ValueError):  # a damaged row is ignored: the next draft replaces it
                self._replace(_read(text, clock, wall), 0)
            self._seen = text

    def _replace(self, state: RateState, known: int) -> None:
        """Replace the state with a state that includes this process's first ``known`` reports.

        Slots that this process used without the row, while the store failed, count too.
        """
        before, self._limit.state = self._limit.state, state
        self._has_refusals = state.refusals > 0 or state.pace is not None
        state.next, state.resume = max(state.next, before.next), max(state.resume, before.resume)
        while self._reports and self._reports[0].number <= known:
            self._reports.popleft()
        for report in self._reports:
            self._apply(report)


def _take_block(limit: RateLimit, now: float, wanted: int) -> list[Slot]:
    at = max(now, limit.next)
    slots, end = [limit.take(at)], at + BLOCK
    while len(slots) < wanted and (at := max(at, limit.next)) < end:
        slots.append(limit.take(at))
    return slots


def _read(text: str, clock: Clock, wall: float) -> RateState:
    """The state in a row, with its times converted to this clock. ``wall`` is the store's time.

    Raises ValueError for a row that no process can have written.
    """
    row = decode(text, _Row)
    age, now = row.at.age(clock), clock.now()
    if age is None:  # written before a restart, or by another machine, whose clock may be an hour off
        age = max(0.0, wall - row.at.wall)
    state = row.state.moved(now - age - row.at.since)
    if age > LONGEST:  # the account's limit may have changed since then
        state = state.without_lessons()
    if max(state.next, state.renewal) > now + LONGEST + AHEAD:
        raise ValueError("a slot that far ahead was not given by this clock")
    return state


_limits: dict[tuple[str, bytes, str, str], SharedLimit] = {}
_registry = threading.Lock()


def shared_limit(api: str, token: str | None, kind: str, clock: Clock) -> SharedLimit:
    """The process's limit for an account.

    The limit is kept for ``LONGEST`` seconds after its last session, so that a call obeys the 429s of earlier calls,
    even if each call opens a session. The boot is part of the key, since times of different boots cannot be compared.
    """
    account = blake2b((token or "").encode(), digest_size=16).digest()
    with _registry:
        lapsed = time.monotonic() - LONGEST
        for key in [key for key, limit in _limits.items() if not limit.is_open and limit.left_at < lapsed]:
            del _limits[key]
        limit = _limits.setdefault((api, account, kind, clock.boot), SharedLimit())
        limit.left_at = time.monotonic()
        return limit


@on_fork
def forget_limits() -> None:
    """Forget all limits. A forked process must do this, since its copied locks may never be released."""
    global _registry  # noqa: PLW0603 - the lock itself has to be replaced
    _registry = threading.Lock()
    _limits.clear()
