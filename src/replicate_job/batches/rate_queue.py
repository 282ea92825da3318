"""A queue of rows that wait for a rate-limit slot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from replicate_job.api.ratelimit import Slot
from replicate_job.batches.progress import Tally
from replicate_job.flow.context import Context


class RateQueue:
    """The waiting rows. All of them can be canceled together, since no waiting row has sent a request."""

    def __init__(self, context: Context, tally: Tally) -> None:
        self._client, self._tally, self._sleep = context.client, tally, context.clock.sleep
        self._queued: set[asyncio.Task[Any]] = set()
        self._is_off = False

    async def wait(self) -> Slot:
        """Wait until this task may send its create request. Raises CancelledError when the queue is canceled."""
        if not self._is_off and (slot := self._client.take_slot_now()):
            return slot
        with self._queueing():
            return await self._client.take_slot()

    async def pause(self, seconds: float) -> None:
        """Wait before the row queues again. Raises CancelledError when the queue is canceled."""
        with self._queueing():
            await self._sleep(seconds)

    @contextmanager
    def _queueing(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task  # noqa: S101 - a coroutine runs in a task
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
        """Cancel the waiting rows, and all rows that come later."""
        self._is_off = True
        for task in self._queued:
            task.cancel()

    def update_tally(self) -> None:
        """Copy the current rate limit into the tally."""
        creates, tally = self._client.creates, self._tally
        tally.pace, tally.paused = creates.pace, creates.paused
        tally.throttled = creates.throttled + self._client.others.throttled
