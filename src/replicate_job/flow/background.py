"""Background tasks, whose errors reach all waiters for their work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """The background tasks of one owner. ``fail`` is called with the error that ended a task early.

    A waiter does not wait for the task itself, but for a future or a queue that the task fills. So ``fail`` must pass
    the error to these futures and queues.
    """

    def __init__(self, fail: Callable[[BaseException], object]) -> None:
        self._fail = fail
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._is_closing:
            return
        if task.cancelled():
            self._fail(RuntimeError(f"{task.get_coro()!r} was cancelled, and not by its owner"))
        elif error := task.exception():
            self._fail(error)

    async def close(self) -> None:
        """Cancel the running tasks, and wait until all of them have ended."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
