"""Background tasks: the error of a task that ends early reaches the waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from replicate_job.flow.background import Background


class Owner:
    """Waits on a future that its background task must fill."""

    def __init__(self) -> None:
        self.news: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.background = Background(self.news.set_exception)


async def broken() -> None:
    raise RecursionError("too deep")


async def endless() -> None:
    await asyncio.Event().wait()


async def test_the_error_of_a_task_is_passed_to_the_owner() -> None:
    owner = Owner()
    owner.background.start(broken())
    with pytest.raises(RecursionError, match="too deep"):
        await owner.news


async def test_a_task_that_is_cancelled_from_outside_raises_an_error_in_its_owner() -> None:
    owner = Owner()
    owner.background.start(endless()).cancel()
    with pytest.raises(RuntimeError, match=r"endless.* was cancelled, and not by its owner"):
        await owner.news


@pytest.mark.parametrize("work", [endless, broken])
async def test_closing_cancels_the_background_tasks_without_an_error(work: Any) -> None:
    owner = Owner()
    coroutine: Coroutine[Any, Any, None] = work()
    task = owner.background.start(coroutine)
    await owner.background.close()
    assert task.done()
    assert not owner.news.done()
