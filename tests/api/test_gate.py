"""Requests go through at the pace of their bucket, first come, first served."""

from __future__ import annotations

import asyncio
import time

import pytest

from replicate_job.api.gate import Gate
from replicate_job.api.ratelimit import Bucket
from replicate_job.clock import SystemClock


async def enter(gate: Gate, name: int, order: list[int], times: list[float]) -> None:
    await gate.enter()
    order.append(name)
    times.append(time.monotonic())


async def test_without_a_limit_nobody_waits() -> None:
    gate, order, times = Gate(Bucket(None), SystemClock()), list[int](), list[float]()
    for name in range(1000):
        await enter(gate, name, order, times)
    assert times[-1] - times[0] < 1
    assert gate.bucket.pace is None


async def test_they_come_through_in_their_order_and_evenly_after_the_burst() -> None:
    gate, order, times = Gate(Bucket(50, burst=3), SystemClock()), list[int](), list[float]()
    await asyncio.gather(*(enter(gate, name, order, times) for name in range(20)))
    assert order == list(range(20))
    assert times[2] - times[0] < 0.02
    assert 17 / 50 <= times[-1] - times[0] < 17 / 50 + 0.5


async def test_who_gives_up_waiting_takes_nobodys_place() -> None:
    gate, order, times = Gate(Bucket(20, burst=1), SystemClock()), list[int](), list[float]()
    tasks = [asyncio.create_task(enter(gate, name, order, times)) for name in range(8)]
    await asyncio.sleep(0.01)
    for name in (1, 3, 4):
        tasks[name].cancel()
    await asyncio.wait(tasks)
    assert order == [0, 2, 5, 6, 7]
    assert times[-1] - times[0] < 7 / 20  # as long as it would take with those who gave up


async def test_a_refusal_holds_all_back_for_as_long_as_the_api_asked_and_is_counted() -> None:
    gate, order, times = Gate(Bucket(1000), SystemClock()), list[int](), list[float]()
    ticket = await gate.enter()
    assert (gate.paused, gate.throttled) == (0, 0)
    refused = time.monotonic()
    gate.refused(ticket, 1)
    assert gate.paused == pytest.approx(1, abs=0.1)
    assert gate.throttled == 1
    await asyncio.gather(*(enter(gate, name, order, times) for name in range(2)))
    assert times[0] - refused >= 0.99


async def test_a_refusal_that_comes_while_others_wait_makes_them_wait_longer() -> None:
    gate, order, times = Gate(Bucket(10, burst=1), SystemClock()), list[int](), list[float]()
    ticket = await gate.enter()
    waiting = asyncio.create_task(enter(gate, 1, order, times))
    await asyncio.sleep(0.02)
    assert not order
    refused = time.monotonic()
    gate.refused(ticket, 1)
    await waiting
    assert times[0] - refused >= 0.99
