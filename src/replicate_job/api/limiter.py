"""Assigns rate-limit slots to the requests of a session."""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from replicate_job.api.ratelimit import Quota, RateLimit, Slot
from replicate_job.api.shared_limit import SharedLimit, shared_limit
from replicate_job.clock import Clock
from replicate_job.errors import JournalError
from replicate_job.telemetry import COUNTS

_PATIENCE = 2.0  # Seconds to wait for the store. After that, this process keeps to the limit by itself.
_TRIES = 50  # Attempts to write the row while other processes write it too.


class RateStore(Protocol):
    """The place where processes share an account's rate limit: the journal."""

    def time(self) -> float:
        """Unix time by a clock that all these processes share."""

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:
        """See ``Journal.swap_rate``."""


class RateLimiter:
    """Assigns slots within the limit ``shared`` to a session's requests of one kind, in the order of their arrival.

    A request must be sent as soon as it has its slot, and its response must be reported. ``throttled`` counts 429s.
    With ``store``, the limit applies to all processes that use the same store. While the store fails, the limit applies
    to this process alone. ``after`` is another limiter: this limiter uses the store only after ``after`` has written to
    it. So a session without create requests does not write to the store. The limiter is an async context manager:
    inside it, ``rate`` (requests a second) applies to all sessions that share the limit.
    """

    def __init__(  # noqa: PLR0913 - the limit, its store, and the row that it uses there
        self,
        shared: SharedLimit,
        clock: Clock,
        store: RateStore | None = None,
        *,
        rate: float | None = None,
        api: str = "",
        kind: str = "",
        after: RateLimiter | None = None,
    ) -> None:
        self._shared, self._clock, self._rate = shared, clock, rate
        self._stored, self._api, self._kind = store, api, kind
        self._after, self._has_written = after, False
        self.throttled = 0

    async def __aenter__(self) -> Self:
        self._shared.enter(self._rate)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._shared.leave(self._rate)
        await self.report()

    def change(self, rate: float | None) -> None:
        """Replace the session's rate, in requests a second."""
        self._shared.enter(rate)
        self._shared.leave(self._rate)
        self._rate = rate

    @property
    def _store(self) -> RateStore | None:
        return self._stored if self._after is None or self._after._has_written else None  # noqa: SLF001 - its own class

    @property
    def pace(self) -> float | None:
        """The current rate in requests a second. None for no limit."""
        return self._shared.pace

    @property
    def paused(self) -> float:
        """Seconds until the pause that a 429 asked for is over."""
        return self._shared.paused(self._clock.now())

    async def take_slot(self) -> Slot:
        """Wait until a request may be sent. A cancelled wait uses up no slot."""
        if slot := self._shared.take_free(self._clock.now()):
            return slot
        with self._shared.queue() as turn:
            async with turn:
                while True:
                    slot = await self._reserved()
                    try:
                        await self._wait_for(slot)
                    except BaseException:
                        self._shared.give_back(slot)
                        raise
                    if self._shared.is_valid(slot):
                        return Slot(slot.number, max(slot.sent, self._clock.now()))

    def take_slot_now(self) -> Slot | None:
        """A slot if one is free now, or None."""
        return self._shared.take_now(self._clock.now())

    async def _reserved(self) -> Slot:
        """Reserve a slot for this process. The slot's time may be in the future."""
        tries = 0
        while True:
            now = self._clock.now()
            if slot := self._shared.take_reserved(now):
                return slot
            if wait := self._shared.too_early(now):
                await self._clock.sleep(wait)
                tries = 0  # with many waiting processes, each often loses the race for a slot
            elif self._store is None or self._shared.is_alone(now):
                return self._shared.take_alone(now)
            else:
                await self._write(self._store)
                tries += 1
                if tries == _TRIES:  # other processes were always faster
                    self._shared.go_alone(now)

    async def _wait_for(self, slot: Slot) -> None:
        if (wait := slot.sent - self._clock.now()) > 0:
            await self._clock.sleep(wait)
        now = self._clock.now()
        if self._store and self._shared.is_stale(now) and not self._shared.is_alone(now):
            await self._write(self._store, reserve=False)

    async def _write(self, store: RateStore, *, reserve: bool = True) -> bool:
        """Try to write the row. Returns False if another process has changed the row, so that another try is needed."""
        draft = self._shared.draft(self._clock, store.time(), reserve=reserve)
        try:
            async with asyncio.timeout(_PATIENCE):
                stored = await store.swap_rate(self._api, self._kind, draft.seen, draft.text)
        except (JournalError, TimeoutError):
            self._shared.go_alone(self._clock.now())
            return True
        self._has_written = True
        if stored is None:
            self._shared.written(draft)
            return True
        self._shared.adopt(stored, self._clock, store.time())
        return False

    def accepted(self, slot: Slot, quota: Quota | None = None) -> None:
        """Record a response other than 429, and the quota in the response."""
        self._shared.accepted(slot, self._clock.now(), quota, stored=self._store is not None)

    async def refused(self, slot: Slot, retry_after: float | None) -> None:
        """Record a 429, also for the other processes."""
        self.throttled += 1
        COUNTS.throttled[self._kind] += 1
        self._shared.throttled(slot, self._clock.now(), retry_after, stored=self._store is not None)
        await self.report()

    async def report(self) -> None:
        """Write the responses that other processes need: the responses from a time with 429s."""
        for _ in range(_TRIES):
            if self._store is None or not self._shared.has_lesson or self._shared.is_alone(self._clock.now()):
                return
            if await self._write(self._store, reserve=False):
                return


def unshared_limiter(clock: Clock, rate: float | None = None) -> RateLimiter:
    return RateLimiter(SharedLimit(RateLimit(rate)), clock)


def account_limiter(  # noqa: PLR0913 - the account, the kind of request, and the store
    api: str,
    token: str | None,
    kind: str,
    rate: float | None,
    *,
    clock: Clock,
    store: RateStore | None,
    after: RateLimiter | None = None,
) -> RateLimiter:
    """An account's limiter for one session.

    Sessions of a process share the limit, and ``store`` shares it with other processes.

    ``rate`` is in requests a second. If None, only the limit learned from 429s applies. ``after``: see ``RateLimiter``.
    """
    shared = shared_limit(api, token, kind, clock)
    return RateLimiter(shared, clock, store, rate=rate, api=api, kind=kind, after=after)
