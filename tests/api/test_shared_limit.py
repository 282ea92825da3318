"""One rate limit for all processes on a journal, in virtual time: each ``process`` here has a journal of its own."""

from __future__ import annotations

import asyncio
import itertools
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from replicate_job.api.limiter import RateLimiter
from replicate_job.api.ratelimit import LONGEST, Quota, RateLimit
from replicate_job.api.shared_limit import AHEAD, ALONE, SharedLimit
from replicate_job.errors import JournalError
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.serving.rate import TokenBucket

API, TOKEN = "https://api.test/v1", "r8_of_a_test"


class Clock:
    """A clock that jumps to the next wake-up once all tasks sleep. ``set_by`` is how far its wall time was moved."""

    def __init__(self, boot: str = "this boot", since: float = 1000.0) -> None:
        self.boot, self._now, self.set_by = boot, since, 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.written = set[asyncio.Task[str | None]]()

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return 1e9 + self._now + self.set_by

    def pass_by(self, seconds: float) -> None:
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, woken))
        await woken

    async def run(self) -> None:
        """Wake one sleeping task after another, each when all other tasks wait."""
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            if self.written:
                await asyncio.wait(self.written)
            elif self._sleepers:
                first = min(self._sleepers, key=lambda sleeper: sleeper[0])
                self._sleepers.remove(first)
                self._now = max(self._now, first[0])
                if not first[1].done():
                    first[1].set_result(None)


class Store:
    """A journal during whose writes the clock stands still."""

    def __init__(self, journal: SQLiteJournal, clock: Clock) -> None:
        self._journal, self._clock = journal, clock

    def time(self) -> float:
        return self._journal.time()

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:
        writing = asyncio.create_task(self._journal.swap_rate(api, kind, seen, state))
        self._clock.written.add(writing)
        writing.add_done_callback(self._clock.written.discard)
        return await writing


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def process(tmp_path: Path, clock: Clock) -> AsyncIterator[Callable[..., RateLimiter]]:
    """``process(rate)`` starts another process and returns its limiter."""
    async with AsyncExitStack() as stack:
        running = asyncio.create_task(clock.run())

        async def open_journal(own: Clock) -> SQLiteJournal:
            return await stack.enter_async_context(SQLiteJournal(tmp_path / "journal.db", clock=own, token=TOKEN))

        journals = {clock: [await open_journal(clock) for _ in range(8)]}

        def start(rate: float | None, *, at: Clock = clock) -> RateLimiter:
            journal = journals[clock].pop()
            return RateLimiter(SharedLimit(RateLimit(rate)), at, Store(journal, at), api=API, kind="create")

        yield start
        running.cancel()


async def take(limiter: RateLimiter, clock: Clock, count: int) -> list[float]:
    async def one() -> float:
        await limiter.take_slot()
        return clock.now() - 1000

    return await asyncio.gather(*(one() for _ in range(count)))


async def test_processes_share_one_burst_and_one_pace(process: Callable[..., RateLimiter], clock: Clock) -> None:
    times = await asyncio.gather(*(take(process(20.0), clock, 10) for _ in range(4)))
    sent = sorted(itertools.chain(*times))
    assert sent[:5] == [0] * 5
    paced = sent[5:]
    assert all(later >= (number + 1) / 20 for number, later in enumerate(paced))
    assert sent[-1] < 36 / 20 * 1.25
    assert all(process_times[-1] > 0.8 for process_times in times)  # they take turns


async def test_a_busy_process_writes_four_times_a_second(
    process: Callable[..., RateLimiter], clock: Clock, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as database:
        limiter, writes = process(100.0), list[str]()
        await take(limiter, clock, 1)
        database.executescript(
            "CREATE TABLE log (n); CREATE TRIGGER w AFTER UPDATE ON rates BEGIN INSERT INTO log VALUES (1); END"
        )
        sent = await take(limiter, clock, 300)
        writes = database.execute("SELECT count(*) FROM log").fetchone()[0]
    assert writes <= 4 * (sent[-1] - sent[0]) + 2


async def test_all_processes_obey_a_429_that_one_process_got(process: Callable[..., RateLimiter], clock: Clock) -> None:
    one, other = process(10.0), process(10.0)
    slot = await one.take_slot()
    await other.take_slot()
    await one.refused(slot, 30)
    assert other.paused == 0
    assert await take(other, clock, 2) >= [29.9, 29.9]
    assert (other.pace or 9) < 5
    assert other.throttled == 0


async def test_slots_reserved_before_a_429_are_not_used(process: Callable[..., RateLimiter], clock: Clock) -> None:
    one, other = process(2.0), process(2.0)
    slot = await one.take_slot()
    await take(other, clock, 4)
    waiting = [asyncio.create_task(take(limiter, clock, 1)) for limiter in (other, one)]
    await asyncio.sleep(0)
    await one.refused(slot, 20)
    assert min(itertools.chain(*await asyncio.gather(*waiting))) >= 19.9


async def test_after_accepted_requests_all_processes_return_to_their_pace(process: Callable[..., RateLimiter]) -> None:
    one, other = process(10.0), process(10.0)
    slots = [await one.take_slot() for _ in range(5)]
    await one.refused(slots[-1], 1)
    for _ in range(400):
        one.accepted(await one.take_slot())
    await one.report()
    await other.take_slot()
    assert other.pace == pytest.approx(one.pace)
    assert (other.pace or 0) > 9


async def test_a_wall_clock_that_is_set_back_makes_no_process_wait(process: Callable[..., RateLimiter]) -> None:
    """The machine was restarted since, so only the wall clock can tell how old the slot is."""
    one = process(10.0)
    await one.refused(await one.take_slot(), 20)
    restarted = Clock("another boot", since=3.0)
    restarted.set_by = -3600.0
    late = asyncio.create_task(restarted.run())
    await process(10.0, at=restarted).take_slot()
    assert restarted.now() <= 3 + 20
    late.cancel()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_machine_with_a_wrong_clock_obeys_a_429_of_another_machine(
    process: Callable[..., RateLimiter], hours: int
) -> None:
    """The age of the row comes from the journal's clock, which all machines share."""
    one = process(10.0)
    await one.refused(await one.take_slot(), 20)
    machine = Clock("another boot", since=3.0)
    machine.set_by = hours * 3600.0
    running = asyncio.create_task(machine.run())
    await process(10.0, at=machine).take_slot()
    assert machine.now() == pytest.approx(3 + 20, abs=1)
    running.cancel()


async def test_a_row_with_a_slot_in_the_far_future_is_ignored(
    process: Callable[..., RateLimiter], clock: Clock, tmp_path: Path
) -> None:
    await process(10.0).take_slot()
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as database:
        database.execute("UPDATE rates SET state = json_set(state, '$.state.next', 1000 + 700.0)")
    assert await take(process(10.0), clock, 1) == [0]


@pytest.mark.parametrize("damage", ["{}", "nonsense", '{"at":[1],"state":{"pace":-1}}'])
async def test_a_damaged_row_is_replaced(
    process: Callable[..., RateLimiter], clock: Clock, tmp_path: Path, damage: str
) -> None:
    await process(10.0).take_slot()
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as database:
        database.execute("UPDATE rates SET state = ?", (damage,))
        assert await take(process(10.0), clock, 1) == [0]
        assert database.execute("SELECT json_extract(state, '$.state.number') FROM rates").fetchone() == (1,)


async def test_an_old_429_does_not_slow_a_new_process(process: Callable[..., RateLimiter], clock: Clock) -> None:
    one = process(10.0)
    await one.refused(await one.take_slot(), 30)
    clock.pass_by(LONGEST + 60)
    other = process(10.0)
    await other.take_slot()
    assert other.pace == 9.8


async def test_while_the_store_fails_a_process_keeps_to_its_own_rate_limit(clock: Clock) -> None:
    class Full:
        def time(self) -> float:
            return clock.time()

        async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:  # noqa: ARG002 - as it is
            raise JournalError("no space left for the journal")

    running = asyncio.create_task(clock.run())
    limiter = RateLimiter(SharedLimit(RateLimit(10.0)), clock, Full(), api=API, kind="create")
    times = await take(limiter, clock, 15)
    assert times[:5] == [0] * 5
    assert times[-1] == pytest.approx(10 / 9.8)
    running.cancel()


async def test_without_a_limit_nothing_is_written_into_the_store(
    process: Callable[..., RateLimiter], clock: Clock, tmp_path: Path
) -> None:
    assert await take(process(None), clock, 50) == [0] * 50
    assert not (tmp_path / "journal.db").exists()


class Account(NamedTuple):
    """An account at a server. ``tells``: its responses have the quota, as Replicate's do."""

    per_minute: int
    burst: int
    tells: bool = False


@pytest.mark.long
@pytest.mark.parametrize(
    ("account", "most"),
    [(Account(300, 10), 20), (Account(6, 1), 20), (Account(600, 10), 0), (Account(300, 10, True), 5)],
)
async def test_processes_learn_a_limit_together(
    process: Callable[..., RateLimiter], clock: Clock, account: Account, most: int
) -> None:
    """Four processes with 600 a minute always have requests to send. The server counts refused requests too."""
    server, passed, refused = TokenBucket(account.per_minute / 60, account.burst), list[int](), list[int]()

    async def send(number: int, limiter: RateLimiter) -> None:
        while clock.now() < 1000 + 120:
            slot = await limiter.take_slot()
            wait, left = server.take(clock.now()), server.left()
            await clock.sleep(0.2)
            if wait:
                await limiter.refused(slot, math.ceil(wait))
            else:
                limiter.accepted(slot, Quota(*left) if account.tells else None)
            (refused if wait else passed).append(number)

    limiters = [process(10.0) for _ in range(4)]
    await asyncio.gather(*(send(number, limiter) for number, limiter in enumerate(limiters) for _ in range(4)))
    assert len(passed) >= account.per_minute * 2 * 0.8
    assert len(refused) <= most
    assert min(Counter(passed).values()) >= len(passed) / 4 * 0.6


async def test_requests_that_are_sent_while_the_journal_is_locked_are_recorded_later(
    clock: Clock, tmp_path: Path
) -> None:
    path, running = tmp_path / "journal.db", asyncio.create_task(clock.run())
    async with SQLiteJournal(path, clock=clock, token=TOKEN, busy_timeout=0.05) as journal:
        limiter = RateLimiter(SharedLimit(RateLimit(10.0)), clock, Store(journal, clock), api=API, kind="create")
        await limiter.take_slot()
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            sent = await take(limiter, clock, 30)
            database.execute("ROLLBACK")
            assert sent[-1] == pytest.approx(26 / 9.8)
            clock.pass_by(ALONE)
            await limiter.take_slot()
            assert database.execute("SELECT json_extract(state, '$.state.number') FROM rates").fetchone() == (32,)
    running.cancel()


def test_a_slot_that_is_too_early_by_a_rounding_error_can_be_reserved() -> None:
    now, limit = 78.03265306122447, RateLimit(10)
    limit.state.next = math.nextafter(now + AHEAD, math.inf)
    assert limit.state.next - now > AHEAD
    assert SharedLimit(limit).too_early(now) == 0  # so short a wait would change no clock, and repeat for ever
    limit.state.next += 0.5
    assert SharedLimit(limit).too_early(now) == pytest.approx(0.5)
