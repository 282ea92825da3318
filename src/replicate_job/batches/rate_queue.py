"""Rows that wait for a slot of the rate limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from replicate_job.api.ratelimit import Slot
from replicate_job.batches.progress import Tally
from replicate_job.flow.context import Context


class RateQueue:
    """They can be called off together, as none has sent anything."""

    def __init__(self, context: Context, tally: Tally) -> None:
        self._client, self._tally, self._sleep = context.client, tally, context.clock.sleep
        self._queued: set[asyncio.Task[Any]] = set()
        self._is_off = False

    async def wait(self) -> Slot:
        """Wait until this task may send its create request. Raises CancelledError when the queue is called off."""
        with self._queueing():
            return await self._client.take_slot()

    async def pause(self, seconds: float) -> None:
        """Wait so long before the row gets in line again. Raises CancelledError when the queue is called off."""
        with self._queueing():
            await self._sleep(seconds)

    @contextmanager
    def _queueing(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task  # noqa: S101 - coroutines run in one
        if self._is_off:
            raise asyncio.CancelledError
        self._tally.waiting += 1
        self._queued.add(task)
        try:
            yield
        finally:
            self._queued.discard(task)
            self._tally.waiting -= 1

    def cancel(self) -> None:
        """Call off the rows that wait, and all that come later."""
        self._is_off = True
        for task in self._queued:
            task.cancel()

    def update_tally(self) -> None:
        """Write the limit as it is now into the tally."""
        creates, tally = self._client.creates, self._tally
        tally.pace, tally.paused = creates.pace, creates.paused
        tally.throttled = creates.throttled + self._client.others.throttled
