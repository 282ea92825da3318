"""An account's rate limit, for all threads of the process; between processes it is a row of a store."""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b

import msgspec

from replicate_job.api.ratelimit import LONGEST, Quota, RateLimit, RateState, Slot
from replicate_job.clock import Clock, Moment
from replicate_job.decoding import decode
from replicate_job.forks import on_fork

BLOCK = 0.25
"""Seconds of slots that a process reserves at once, so that a busy one writes to the row four times a second."""
AHEAD = 1.0
"""Seconds before its time from which a slot can be reserved: processes that all wait get theirs in turn."""
REPORTS = 1000
"""Answers that are remembered for the row, while a store fails."""
ALONE = 5.0
"""Seconds for which a process keeps its own pace after a store has failed."""


class Draft(msgspec.Struct, frozen=True):
    """A row to be written in place of the one that was ``seen``: ``slots`` are this process's once it is."""

    seen: str
    text: str
    state: RateState
    slots: list[Slot]
    reports: int
    at: float


class _Row(msgspec.Struct, frozen=True):
    """What is stored: the state, and when it was written."""

    at: Moment
    state: RateState


class _Report(msgspec.Struct, frozen=True):
    """An answer that the row does not know of yet. ``throttled``: it was a 429."""

    number: int
    slot: Slot
    at: float
    throttled: bool = False
    retry_after: float | None = None
    quota: Quota | None = None


class _Queue:
    """Those of one event loop that wait for a slot."""

    def __init__(self) -> None:
        self.turn, self.waiting = asyncio.Lock(), 0


class SharedLimit:
    """A rate limit of an account as this process knows it: what it reserved, and what it learned. Without I/O.

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
        """Open a session that names this rate. The lowest of those open holds."""
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
        """Queue up, among those of this event loop, for the lock that one has while it waits for its slot."""
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
        """A slot at once, where no limit is known."""
        with self._lock:
            return self._limit.take(now) if self._limit.pace is None else None

    def take_now(self, now: float) -> Slot | None:
        """A slot that may be used at this moment: of no limit, or of those reserved while nobody waits for one."""
        if slot := self.take_free(now):
            return slot
        with self._lock:
            is_due = not self._queues and self._block and self._block[0].sent <= now
        return self.take_reserved(now) if is_due else None

    def take_reserved(self, now: float) -> Slot | None:
        """The first of the reserved slots. Those that were left lying have lapsed, for others may have idled since."""
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
        """Whether the slot holds still. A 429 ends all that were reserved before it, a quota those beyond it."""
        with self._lock:
            return self._limit.holds(slot)

    def too_early(self, now: float) -> float:
        """Seconds until the next slot can be reserved."""
        with self._lock:
            return self._limit.wait(now + AHEAD)

    def take_alone(self, now: float) -> Slot:
        """Reserve the next slot without asking other processes."""
        with self._lock:
            return self._limit.take(max(now, self._limit.next))

    def is_alone(self, now: float) -> bool:
        return now < self._alone_until

    def go_alone(self, now: float) -> None:
        """Keep the pace of this process for a while: the store has failed."""
        self._alone_until = now + ALONE

    def is_stale(self, now: float) -> bool:
        """Whether another process may have met a 429 since the row was seen."""
        return now - self._seen_at > 2 * BLOCK

    def accepted(self, slot: Slot, now: float, quota: Quota | None = None, *, stored: bool) -> None:
        """Note an answer that is no 429, and the quota that it tells. ``stored``: the row is to know of it."""
        self._report(_Report(0, slot, now, quota=quota), stored=stored)

    def throttled(self, slot: Slot, now: float, retry_after: float | None, *, stored: bool) -> None:
        self._report(_Report(0, slot, now, throttled=True, retry_after=retry_after), stored=stored)

    def _report(self, report: _Report, *, stored: bool) -> None:
        with self._lock:
            self._reported += 1
            report = msgspec.structs.replace(report, number=self._reported)
            self._apply(report)
            if stored and self._limit.pace is not None:
                self._reports.append(report)

    def _apply(self, report: _Report) -> None:
        if report.throttled:
            self._limit.throttled(report.slot, report.at, report.retry_after)
        else:
            self._limit.accepted(report.slot, report.at, report.quota)

    @property
    def has_lesson(self) -> bool:
        """Whether the row lacks an answer that matters to others: one of a time with 429s."""
        with self._lock:
            return bool(self._reports) and (self._has_refusals or any(report.throttled for report in self._reports))

    def draft(self, clock: Clock, wall: float, *, reserve: bool = True) -> Draft:
        """A row with what was learned here; with ``reserve``, the next slots are this process's.

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
        """Slots that are likely to be used: for all that wait, or twice as many as before if those were soon used."""
        likely = 2 * self._size if now - self._reserved_at < 2 * BLOCK else 1
        return max(likely, sum(queue.waiting for queue in self._queues.values()))

    def written(self, draft: Draft) -> None:
        """The draft has become the row."""
        with self._lock:
            self._replace(draft.state, draft.reports)
            self._seen, self._seen_at = draft.text, draft.at
            if draft.slots:
                self._size, self._reserved_at = len(draft.slots), draft.at
            for slot in draft.slots:
                heapq.heappush(self._block, slot)

    def adopt(self, text: str, clock: Clock, wall: float) -> None:
        """Another process has written this row (empty: it was deleted): it knows all that was written before."""
        with self._lock:
            self._seen_at = clock.now()
            if text == self._seen:  # written by another thread of this process
                return
            with suppress(ValueError):  # a damaged row, which is written anew
                self._replace(_read(text, clock, wall), 0)
            self._seen = text

    def _replace(self, state: RateState, known: int) -> None:
        """Take a state over that knows the first ``known`` reports.

        What was sent without it, while a store had failed or through another one, holds too.
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
    """The state of a row, in the time of this clock; ``wall`` is the store's.

    Raises ValueError for a row that no process can have written.
    """
    row = decode(text, _Row)
    age, now = row.at.age(clock), clock.now()
    if age is None:  # of another boot, or of another machine, whose clock may be an hour off
        age = max(0.0, wall - row.at.wall)
    state = row.state.moved(now - age - row.at.since)
    if age > LONGEST:  # the account's limit may have changed since
        state = state.without_lessons()
    if max(state.next, state.renewal) > now + LONGEST + AHEAD:
        raise ValueError("a slot that far ahead was not given by this clock")
    return state


_limits: dict[tuple[str, bytes, str, str], SharedLimit] = {}
_registry = threading.Lock()


def shared_limit(api: str, token: str | None, kind: str, clock: Clock) -> SharedLimit:
    """The process's limit for an account.

    It outlasts its sessions by as long as a pause can be: calls that open a session each obey what one has learned.
    Times of clocks of different boots cannot be compared.
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
    """Forget what was learned. A fork does, for it may have copied locks that are never released."""
    global _registry  # noqa: PLW0603 - of the process, as it is
    _registry = threading.Lock()
    _limits.clear()
