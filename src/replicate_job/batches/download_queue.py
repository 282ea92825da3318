"""Downloads the outputs of a few predictions at a time. Outputs that the API deletes first are downloaded first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from replicate_job.batches.progress import Tally
from replicate_job.wire.prediction import Prediction

AT_ONCE = 16
"""The most predictions whose files are downloaded at the same time. Of each, several files are downloaded at once."""


class DownloadQueue:
    """A queue ordered by the times when the predictions ended, since the API deletes outputs an hour after that."""

    def __init__(self, tally: Tally) -> None:
        self._tally, self._free, self._number = tally, AT_ONCE, 0
        self._queue: list[tuple[str, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def slot(self, prediction: Prediction) -> AsyncIterator[None]:
        self._tally.running -= 1
        self._tally.saving += 1
        try:
            await self._enter(prediction.completed_at or "")
            try:
                yield
            finally:
                self._release()
        finally:
            self._tally.saving -= 1
            self._tally.running += 1

    async def _enter(self, end: str) -> None:
        if self._free:
            self._free -= 1
            return
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._queue, (end, self._number, slot))
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():  # the queue had just given this task its slot
                self._release()
            raise

    def _release(self) -> None:
        while self._queue:
            _, _, first = heapq.heappop(self._queue)
            if not first.done():
                first.set_result(None)
                return
        self._free += 1
