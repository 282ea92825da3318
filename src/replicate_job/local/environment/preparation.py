"""A model made ready to run: once, however many wait for it, and everyone of them can read how it goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from replicate_job.local.catalog.model import LocalModel


class Launch(msgspec.Struct, frozen=True):
    """What a model is started from. ``schema`` is its OpenAPI document."""

    model: LocalModel
    venv: Path
    schema: dict[str, Any]

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"


class Preparation:
    """Begins at once. ``prepare`` gets a function for what it has to say, a line at a time."""

    def __init__(self, prepare: Callable[[Callable[[str], None]], Awaitable[Launch]]) -> None:
        self._lines: list[str] = []
        self._changed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(prepare))
        self._task.add_done_callback(self._finish)

    @property
    def is_lost(self) -> bool:
        """Whether what was made is not there any more."""
        return self._task.done() and not self.has_failed and not self._task.result().python.exists()

    @property
    def has_failed(self) -> bool:
        return self._task.done() and (self._task.cancelled() or self._task.exception() is not None)

    async def result(self) -> Launch:
        """Raises what went wrong."""
        return await asyncio.shield(self._task)

    async def lines(self) -> AsyncGenerator[str]:
        """What was said and is said while it goes on; nothing once it has succeeded."""
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

    async def _run(self, prepare: Callable[[Callable[[str], None]], Awaitable[Launch]]) -> Launch:
        return await prepare(self._say)

    def _say(self, line: str) -> None:
        self._lines.append(line)
        self._finish()

    def _finish(self, _: object = None) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
