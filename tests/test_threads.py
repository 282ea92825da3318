"""Work in threads that nobody leaves behind."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest

from replicate_job.threads import in_thread


async def test_the_work_is_done_in_a_thread_and_its_result_or_error_comes_back() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_end_of_the_work(fails: bool) -> None:  # noqa: FBT001 - a parameter of the test
    is_begun, goes_on, ended = asyncio.Event(), Event(), Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(is_begun.set)
        goes_on.wait(10)
        ended.set()
        if fails:
            raise OSError

    task = asyncio.create_task(in_thread(work))
    await is_begun.wait()
    task.cancel()
    loop.call_later(0.05, goes_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
