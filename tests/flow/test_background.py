"""Background tasks: what ends one before its time reaches those who wait for its work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from replicate_job.flow.background import Background


class Owner:
    """It waits on a future that its background task is to fill."""

    def __init__(self) -> None:
        self.news: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.background = Background(self.news.set_exception)


async def broken() -> None:
    raise RecursionError("too deep")


async def endless() -> None:
    await asyncio.Event().wait()


async def test_what_a_task_raises_reaches_its_owner() -> None:
    owner = Owner()
    owner.background.start(broken())
    with pytest.raises(RecursionError, match="too deep"):
        await owner.news


async def test_a_task_that_a_stranger_cancels_reaches_its_owner() -> None:
    owner = Owner()
    owner.background.start(endless()).cancel()
    with pytest.raises(RuntimeError, match=r"endless.* was cancelled, and not by its owner"):
        await owner.news


@pytest.mark.parametrize("work", [endless, broken])
async def test_closing_ends_the_tasks_and_tells_nothing(work: Any) -> None:
    owner = Owner()
    coroutine: Coroutine[Any, Any, None] = work()
    task = owner.background.start(coroutine)
    await owner.background.close()
    assert task.done()
    assert not owner.news.done()
