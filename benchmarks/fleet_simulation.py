"""A large fleet in virtual time: what its database, the account's list and the row of the rate limit have to bear.

Workers, the watcher and the account are simulated. How they pace themselves is not: the rate limiter is the real one,
with a row that all workers swap, and sizes and intervals are the constants of the code. What a machine, a network and a
database take is assumed in ``Assumed``. A million rows take minutes of a processor, and no account.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import selectors
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import product

import msgspec
from report import table

from replicate_job.api.client import AT_ONCE
from replicate_job.api.limiter import RateLimiter
from replicate_job.api.ratelimit import MARGIN, Slot
from replicate_job.api.shared_limit import SharedLimit
from replicate_job.batches.poller import GROUP, INTERVAL, SHARE
from replicate_job.fleet.watcher import WRITTEN
from replicate_job.fleet.worker import CONCURRENCY
from replicate_job.journal.postgres_queue import CHUNK
from replicate_job.session import OTHER_RATE


class Assumed(msgspec.Struct, frozen=True):
    """What the code does not say, in seconds.

    ``read`` and ``write`` are those of a transaction (one that writes holds the rate's row), ``answer`` those of
    a create request's, ``duration`` those of a prediction on average. An account takes as many requests at once as come
    in ``burst`` seconds. ``idle`` is the transactions a second of a worker without work, as measured.
    """

    read: float = 0.001
    write: float = 0.002
    answer: float = 0.2
    duration: float = 8.0
    idle: float = 7.4
    burst: float = 1.0


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: it tells how long it would have waited."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            self.passed += timeout or 0.0
        return events


class _Loop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, and a clock that shows it."""

    boot = "simulated"

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed

    def now(self) -> float:
        return self.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Database:
    """Counts transactions, and has the row of the rate limit, which one transaction at a time can write."""

    def __init__(self, clock: _Loop, assumed: Assumed) -> None:
        self.time, self._assumed = clock.time, assumed
        self.counts: Counter[str] = Counter()
        self._row, self._text = asyncio.Lock(), ""

    async def read(self, number: int = 1) -> None:
        self.counts["reads"] += number
        await asyncio.sleep(number * self._assumed.read * random.uniform(0.5, 1.5))  # noqa: S311 - a simulation

    async def write(self, number: int = 1) -> None:
        self.counts["writes"] += number
        await asyncio.sleep(number * self._assumed.write * random.uniform(0.5, 1.5))  # noqa: S311 - a simulation

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:  # noqa: ARG002 - its signature
        async with self._row:
            if self._text == seen:
                self.counts["won"] += 1
                await asyncio.sleep(self._assumed.write)
                self._text = state
                return None
        self.counts["lost"] += 1
        await asyncio.sleep(self._assumed.read)
        return self._text


class Account:
    """A token bucket for create requests, and the ends of predictions. ``rate`` is create requests a second."""

    def __init__(self, clock: _Loop, rate: float, assumed: Assumed) -> None:
        self._clock, self._rate, self._assumed = clock, rate, assumed
        self._most = max(1.0, assumed.burst * rate)
        self._tokens, self._at = self._most, 0.0
        self.refused = self.created = 0
        self.running: list[float] = []

    def create(self) -> bool:
        now = self._clock.now()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.created += 1
        duration = random.expovariate(1 / self._assumed.duration) if self._assumed.duration else 0.0
        self.running.append(now + duration)
        return True


class Fleet:
    """So many workers, and a batch of so many rows."""

    def __init__(self, loop: _Loop, workers: int, rows: int, rate: float, assumed: Assumed) -> None:
        self.clock, self.assumed, self.rows, self.rate = loop, assumed, rows, rate
        self.database = Database(self.clock, assumed)
        self.account = Account(self.clock, rate, assumed)
        self.ended = self.requests = self.most_requests = 0
        self.lags, self.finished = [0.0], 0.0
        self.workers, self._left = workers, rows

    async def run(self) -> None:
        await asyncio.gather(self._watch(), *(self._worker() for _ in range(self.workers)))

    async def _worker(self) -> None:
        limiter = RateLimiter(SharedLimit(), self.clock, self.database, rate=self.rate, api="a", kind="create")
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.sleep(random.uniform(0, 1))  # noqa: S311 - they do not start at one moment
        async with limiter:
            await asyncio.gather(*(self._tasks(limiter, places) for _ in range(CONCURRENCY)))

    async def _tasks(self, limiter: RateLimiter, places: asyncio.Semaphore) -> None:
        while self._left:
            chunk = min(CHUNK, self._left)
            self._left -= chunk
            await self.database.write()  # the queue gives the task
            await self.database.read(3)  # the batch, its rows, their jobs
            await asyncio.gather(*(self._create(limiter, places) for _ in range(chunk)))
            await self.database.write(2)  # the rows are settled, and the queue forgets the task

    async def _create(self, limiter: RateLimiter, places: asyncio.Semaphore) -> None:
        slot: Slot = await limiter.take_slot()
        await self.database.write()  # claim, with the intent
        while True:
            async with places:
                is_made = self.account.create()
                await asyncio.sleep(self.assumed.answer * random.uniform(0.5, 1.5))  # noqa: S311 - a simulation
            if is_made:
                break
            await limiter.refused(slot, 1)
            slot = await limiter.take_slot()
        limiter.accepted(slot)
        await self.database.write(2)  # created, and released

    async def _watch(self) -> None:
        """One worker's watcher: rounds through the list, and the ends that they show, in transactions of many."""
        pace = OTHER_RATE * MARGIN
        while self.ended < self.rows:
            started, before = self.clock.now(), self.ended
            waiting, self.account.running = self.account.running, []
            still: list[float] = []
            for start in range(0, len(waiting), GROUP):
                await asyncio.sleep(1 / pace)
                still += self._unseen(waiting[start : start + GROUP])
            self.account.running += still
            cost = math.ceil(len(waiting) / GROUP)
            self.requests, self.most_requests = self.requests + cost, max(self.most_requests, cost)
            await self.database.write(math.ceil((self.ended - before) / WRITTEN))
            await self.database.read(2)  # what was created since
            self.finished = self.clock.now()
            await asyncio.sleep(max(0.01, max(INTERVAL, cost / (SHARE * pace)) - (self.finished - started)))

    def _unseen(self, page: list[float]) -> list[float]:
        now = self.clock.now()
        ended = [now - end for end in page if end <= now]
        self.ended += len(ended)
        self.lags += ended
        return [end for end in page if end > now]


def simulate(workers: int, rows: int, rate: float, assumed: Assumed, seconds: float | None = None) -> Fleet:
    """``rate`` is create requests a second. A run is ended after ``seconds``, or with its last row."""
    random.seed(1)
    loop = _Loop()

    async def run() -> Fleet:
        fleet = Fleet(loop, workers, rows, rate, assumed)
        with suppress(TimeoutError):
            await asyncio.wait_for(fleet.run(), seconds)
        return fleet

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())


HEAD = [
    *("workers", "allowed a minute", "creates a second", "hours for all rows", "refused", "swaps a create"),
    *("lost swaps a second", "transactions a row", "transactions a second", "requests a prediction"),
    *("list requests a round", "end seen after"),
]


def show(fleet: Fleet, seconds: float) -> list[str]:
    """The row of the table for a run of so many seconds. Ends are seen after: the median, and one of a hundred."""
    counts, made, lags = fleet.database.counts, fleet.account.created, sorted(fleet.lags)
    total = counts.total() + fleet.assumed.idle * fleet.workers * seconds
    return [
        str(fleet.workers),
        f"{fleet.rate * 60:,.0f}",
        f"{made / seconds:.1f}",
        f"{fleet.rows * seconds / made / 3600:.2f}",
        f"{fleet.account.refused}",
        f"{(counts['won'] + counts['lost']) / made:.2f}",
        f"{counts['lost'] / seconds:.0f}",
        f"{total / made:.1f}",
        f"{total / seconds:,.0f}",
        f"{(made + fleet.account.refused + fleet.requests) / made:.2f}",
        f"{fleet.most_requests}",
        f"{lags[len(lags) // 2]:.1f} s, {lags[len(lags) * 99 // 100]:.1f} s",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[50])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, nargs="+", default=[30_000.0], help="create requests a minute")
    parser.add_argument("--duration", type=float, default=Assumed().duration, help="seconds of a prediction")
    parser.add_argument("--seconds", type=float, help="end each run after so many virtual seconds")
    options = parser.parse_args(arguments)
    lines = []
    for workers, rate in product(options.workers, options.rate):
        began = time.monotonic()
        found = simulate(workers, options.rows, rate / 60, Assumed(duration=options.duration), options.seconds)
        print(f"{workers} workers, {rate:,.0f} a minute: {time.monotonic() - began:.0f} s", file=sys.stderr)
        lines.append(show(found, options.seconds or found.finished))
    print(table(HEAD, lines))


if __name__ == "__main__":
    main()
