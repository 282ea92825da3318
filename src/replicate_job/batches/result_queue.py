"""Results that wait to be taken by the batch's caller."""

from __future__ import annotations

import asyncio

from replicate_job.job import Result


class ResultQueue:
    """A queue of at most ``most`` results.

    The caller takes all ready results in one call, since a call for each row would cost as much time as the row itself.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._results: list[Result] = []
        self._ready, self._room = asyncio.Event(), asyncio.Event()
        self._is_ended = False

    async def put(self, result: Result) -> None:
        """Add a result. Waits while the queue is full."""
        while len(self._results) >= self._most:
            self._room.clear()
            await self._room.wait()
        self._results.append(result)
        if len(self._results) == 1:
            self._ready.set()

    def end(self) -> None:
        """Mark the end: no more results follow."""
        self._is_ended = True
        self._ready.set()

    async def take(self) -> list[Result]:
        """Wait for at least one result, and return all that are ready. An empty list is the end."""
        while not self._results and not self._is_ended:
            self._ready.clear()
            await self._ready.wait()
        taken, self._results = self._results, []
        self._room.set()
        return taken
