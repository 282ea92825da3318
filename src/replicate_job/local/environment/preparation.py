"""The preparation of a model. It runs once for all predictions that wait for it, and all can read its progress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.environment.workspace import Workspace


class Launch(msgspec.Struct, frozen=True):
    """The parts that are needed to start a model. ``schema`` is its OpenAPI document."""

    model: LocalModel
    workspace: Workspace
    schema: dict[str, Any]


class Preparation:
    """Starts ``prepare`` at once. ``prepare`` gets a function, which it must call with each line of progress."""

    def __init__(self, prepare: Callable[[Callable[[str], None]], Coroutine[Any, Any, Launch]]) -> None:
        self._lines: list[str] = []
        self._changed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(prepare(self._report))
        self._task.add_done_callback(self._notify)

    @property
    def is_lost(self) -> bool:
        """Whether the preparation succeeded, and its environment has been removed since."""
        return self._task.done() and not self.has_failed and not self._task.result().workspace.exists

    @property
    def has_failed(self) -> bool:
        return self._task.done() and (self._task.cancelled() or self._task.exception() is not None)

    async def result(self) -> Launch:
        """Wait for the result. Raises the preparation's own error."""
        return await asyncio.shield(self._task)

    async def lines(self) -> AsyncGenerator[str]:
        """Yield all lines of progress until the preparation ends. After its end, yield the lines only if it failed."""
        position = 0
        while not self._task.done() or (self.has_failed and position < len(self._lines)):
            if position < len(self._lines):
                yield self._lines[position]
                position += 1
                continue
            await self._changed.wait()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    def _report(self, line: str) -> None:
        self._lines.append(line)
        self._notify()

    def _notify(self, _: object = None) -> None:
        """Wake all readers of ``lines``."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
