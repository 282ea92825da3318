"""Requests go through at the pace of their bucket, first come, first served."""

from __future__ import annotations

import asyncio

import pytest

from replicate_job.api.gate import Gate
from replicate_job.api.ratelimit import Bucket

MARGIN = 0.03  # a bucket stays a little below its rate


class Clock:
    """Time that passes only while somebody sleeps, and only once ``runs`` is set."""

    boot = "this boot"

    def __init__(self) -> None:
        self._now = 100.0
        self.asleep, self.runs = asyncio.Event(), asyncio.Event()
        self.runs.set()

    def time(self) -> float:
        raise NotImplementedError("a gate measures, it writes nothing down")

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self.runs.wait()
        self._now += seconds


class Visitors:
    """Who came through a gate, in their order, and when."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self._gate, self._clock = gate, clock
        self.order, self.times = list[int](), list[float]()

    async def enter(self, name: int) -> None:
        await self._gate.enter()
        self.order.append(name)
        self.times.append(self._clock.now() - 100)


async def test_without_a_limit_nobody_waits() -> None:
    gate = Gate(Bucket(None), clock := Clock())
    visitors = Visitors(gate, clock)
    for name in range(1000):
        await visitors.enter(name)
    assert visitors.times == [0] * 1000
    assert not clock.asleep.is_set()
    assert gate.bucket.pace is None


async def test_they_come_through_in_their_order_and_evenly_after_the_burst() -> None:
    visitors = Visitors(Gate(Bucket(50, burst=3), clock := Clock()), clock)
    await asyncio.gather(*(visitors.enter(name) for name in range(20)))
    assert visitors.order == list(range(20))
    assert visitors.times == pytest.approx([0, 0, 0, *(number / 50 for number in range(1, 18))], rel=MARGIN)


async def test_who_gives_up_waiting_takes_nobodys_place() -> None:
    visitors = Visitors(Gate(Bucket(20, burst=1), clock := Clock()), clock)
    clock.runs.clear()
    tasks = [asyncio.create_task(visitors.enter(name)) for name in range(8)]
    await clock.asleep.wait()
    for name in (1, 3, 4):
        tasks[name].cancel()
    clock.runs.set()
    await asyncio.wait(tasks)
    assert visitors.order == [0, 2, 5, 6, 7]
    assert visitors.times == pytest.approx([0, 1 / 20, 2 / 20, 3 / 20, 4 / 20], rel=MARGIN)


async def test_a_refusal_holds_all_back_for_as_long_as_the_api_asked_and_is_counted() -> None:
    gate = Gate(Bucket(1000), clock := Clock())
    visitors = Visitors(gate, clock)
    ticket = await gate.enter()
    assert (gate.paused, gate.throttled) == (0, 0)
    gate.refused(ticket, 1)
    assert (gate.paused, gate.throttled) == (1, 1)
    await asyncio.gather(*(visitors.enter(name) for name in range(2)))
    assert visitors.times[0] == pytest.approx(1)


async def test_a_refusal_that_comes_while_others_wait_makes_them_wait_longer() -> None:
    gate = Gate(Bucket(10, burst=1), clock := Clock())
    visitors = Visitors(gate, clock)
    ticket = await gate.enter()
    clock.runs.clear()
    waiting = asyncio.create_task(visitors.enter(1))
    await clock.asleep.wait()
    assert not visitors.order
    gate.refused(ticket, 1)
    clock.runs.set()
    await waiting
    assert visitors.times[0] == pytest.approx(1)
