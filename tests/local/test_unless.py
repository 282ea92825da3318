from __future__ import annotations

import asyncio

import pytest

from replicate_job.local.unless import unless


class Endless:
    """Work that ends only where it is canceled."""

    def __init__(self) -> None:
        self.is_begun, self.is_ended = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> bool:
        try:
            self.is_begun.set()
            return await asyncio.Event().wait()
        finally:
            self.is_ended.set()


async def test_what_the_work_gives_or_raises_comes_through() -> None:
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        return 1 // value

    assert await unless(asyncio.Event(), work(1)) == 1
    with pytest.raises(ZeroDivisionError):
        await unless(asyncio.Event(), work(0))


async def test_work_that_is_not_wanted_never_begins() -> None:
    async def work() -> bool:
        raise AssertionError

    canceled = asyncio.Event()
    canceled.set()
    assert await unless(canceled, work()) is None


async def test_a_cancellation_ends_the_work() -> None:
    canceled, work = asyncio.Event(), Endless()
    task = asyncio.create_task(unless(canceled, work()))
    await work.is_begun.wait()
    canceled.set()
    assert await task is None
    assert work.is_ended.is_set()


async def test_who_waits_can_be_canceled_too_and_the_work_with_it() -> None:
    work = Endless()
    task = asyncio.create_task(unless(asyncio.Event(), work()))
    await work.is_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_ended.is_set()


async def test_a_slot_is_not_lost_to_one_who_gave_up_on_it() -> None:
    slots = asyncio.Semaphore(0)
    canceled = asyncio.Event()
    task = asyncio.create_task(unless(canceled, slots.acquire()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slots.release()
    canceled.set()
    if not await task:
        assert not slots.locked()
