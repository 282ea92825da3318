"""Background tasks whose failure reaches all that wait for their work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """The background tasks of one owner. ``fail`` gets the error that ends one of them early.

    The waiters hold futures or queues that a task fills, not the task itself. So ``fail`` has to reach them all.
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
        """Cancel what still runs, and come back when all of it has ended."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
