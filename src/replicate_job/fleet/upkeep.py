"""Regular work of every process in a fleet, which makes sure that every task is run."""

from __future__ import annotations

import asyncio
import os
import socket

from replicate_job.errors import JournalError
from replicate_job.fleet.parts import Fleet
from replicate_job.session import CREATE_RATE

EVERY = 3.0
"""Seconds between two searches for tasks of dead workers."""
DEFERRED = 30.0
"""Seconds between two comparisons of the queue with the journal. One process of the fleet makes each comparison."""


class Upkeep:
    """``concurrency`` is the number of tasks that this worker runs at the same time. It is None for other processes."""

    def __init__(self, fleet: Fleet, concurrency: int | None = None) -> None:
        self._fleet, self._concurrency = fleet, concurrency

    async def run(self) -> None:
        while True:
            try:
                await self.once()
            except JournalError as error:
                self._fleet.context.reporter.warn(f"waiting for the database: {error}")
            await asyncio.sleep(EVERY)

    async def once(self) -> None:
        fleet, tables = self._fleet, self._fleet.tables
        if self._concurrency is not None:
            await tables.seen(fleet.api, socket.gethostname(), os.getpid(), self._concurrency)
        if again := await tables.give_again(fleet.api):
            fleet.context.reporter.note(f"{again} tasks of workers that are gone are given again")
        if await tables.is_due("upkeep", fleet.api, DEFERRED):
            await tables.defer_lost(fleet.api)
        fleet.context.client.creates.change(await tables.rate(fleet.api, CREATE_RATE))
