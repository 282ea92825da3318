"""Requests get their slots at the pace of the rate limit, first come, first served."""

from __future__ import annotations

import asyncio

import pytest

from replicate_job.api.limiter import RateLimiter
from replicate_job.api.ratelimit import RateLimit
from replicate_job.api.shared_limit import SharedLimit

MARGIN = 0.03  # the pace is a little below the rate


class Clock:
    """A clock whose time passes only while a task sleeps, and only after ``runs`` is set."""

    boot = "this boot"

    def __init__(self) -> None:
        self._now = 100.0
        self.asleep, self.runs = asyncio.Event(), asyncio.Event()
        self.runs.set()

    def time(self) -> float:
        raise NotImplementedError("a limiter measures, it writes nothing down")

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self.runs.wait()
        self._now += seconds


class Requests:
    """The requests that got a slot, in order, with their times."""

    def __init__(self, limiter: RateLimiter, clock: Clock) -> None:
        self._limiter, self._clock = limiter, clock
        self.order, self.times = list[int](), list[float]()

    async def send(self, name: int) -> None:
        await self._limiter.take_slot()
        self.order.append(name)
        self.times.append(self._clock.now() - 100)


async def test_without_a_limit_no_request_waits() -> None:
    limiter = RateLimiter(SharedLimit(RateLimit(None)), clock := Clock())
    requests = Requests(limiter, clock)
    for name in range(1000):
        await requests.send(name)
    assert requests.times == [0] * 1000
    assert not clock.asleep.is_set()
    assert limiter.pace is None


async def test_after_the_burst_requests_are_sent_in_order_and_evenly() -> None:
    requests = Requests(RateLimiter(SharedLimit(RateLimit(50, burst=3)), clock := Clock()), clock)
    await asyncio.gather(*(requests.send(name) for name in range(20)))
    assert requests.order == list(range(20))
    assert requests.times == pytest.approx([0, 0, 0, *(number / 50 for number in range(1, 18))], rel=MARGIN)


async def test_a_request_that_is_cancelled_while_it_waits_uses_no_slot() -> None:
    requests = Requests(RateLimiter(SharedLimit(RateLimit(20, burst=1)), clock := Clock()), clock)
    clock.runs.clear()
    tasks = [asyncio.create_task(requests.send(name)) for name in range(8)]
    await clock.asleep.wait()
    for name in (1, 3, 4):
        tasks[name].cancel()
    clock.runs.set()
    await asyncio.wait(tasks)
    assert requests.order == [0, 2, 5, 6, 7]
    assert requests.times == pytest.approx([0, 1 / 20, 2 / 20, 3 / 20, 4 / 20], rel=MARGIN)


async def test_a_429_delays_all_requests_as_long_as_the_api_asks_and_is_counted() -> None:
    limiter = RateLimiter(SharedLimit(RateLimit(1000)), clock := Clock())
    requests = Requests(limiter, clock)
    slot = await limiter.take_slot()
    assert (limiter.paused, limiter.throttled) == (0, 0)
    await limiter.refused(slot, 1)
    assert (limiter.paused, limiter.throttled) == (1, 1)
    await asyncio.gather(*(requests.send(name) for name in range(2)))
    assert requests.times[0] == pytest.approx(1)


async def test_a_429_lengthens_the_wait_of_waiting_requests() -> None:
    limiter = RateLimiter(SharedLimit(RateLimit(10, burst=1)), clock := Clock())
    requests = Requests(limiter, clock)
    slot = await limiter.take_slot()
    clock.runs.clear()
    waiting = asyncio.create_task(requests.send(1))
    await clock.asleep.wait()
    assert not requests.order
    await limiter.refused(slot, 1)
    clock.runs.set()
    await waiting
    assert requests.times[0] == pytest.approx(1)


class LostRow:
    """A store in which another process writes the row first, a given number of times."""

    def __init__(self, clock: Clock, losses: int) -> None:
        self.losses, self._clock = losses, clock
        self._rival = SharedLimit(RateLimit(4, burst=1))

    def time(self) -> float:
        return 0.0

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:  # noqa: ARG002 - its signature
        if not self.losses:
            return None
        self.losses -= 1
        self._rival.written(draft := self._rival.draft(self._clock, 0.0))
        return draft.text


async def test_a_process_that_often_loses_the_race_for_a_slot_stays_within_the_shared_limit() -> None:
    clock = Clock()
    row = LostRow(clock, losses=200)
    slot = await RateLimiter(SharedLimit(RateLimit(4, burst=1)), clock, row).take_slot()
    assert row.losses == 0
    assert slot.number > 200
