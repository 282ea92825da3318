"""Follows a batch to its end. The process that follows can become the watcher, so a batch ends even without workers."""

from __future__ import annotations

import asyncio

from replicate_job.batches.progress import Tally
from replicate_job.fleet.input_files import clean
from replicate_job.fleet.parts import Fleet
from replicate_job.fleet.status import count, is_over, pause
from replicate_job.fleet.upkeep import Upkeep
from replicate_job.fleet.watcher import Watcher
from replicate_job.flow.background import Background
from replicate_job.flow.context import Context
from replicate_job.journal.postgres_fleet import FleetBatch, FleetTables

EVERY = 0.5
"""The shortest time in seconds between two counts of the rows."""


async def follow(context: Context, tables: FleetTables, batch: FleetBatch, tally: Tally) -> str:
    """Wait until all rows are over, or until the batch is stopped and no row runs.

    Returns the reason why the batch was stopped, empty if it was not stopped. ``tally`` is updated meanwhile.
    """
    fleet = Fleet(context, tables)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    background = Background(lambda error: None if failed.done() else failed.set_exception(error))
    background.start(Watcher(fleet).run())
    background.start(Upkeep(fleet).run())
    background.start(clean(fleet))
    try:
        while not failed.done():
            began = context.clock.now()
            counts = await tables.counts(batch.number)
            count(tally, counts)
            current = await tables.batch(batch.number)
            stopped = current.stopped if current else "it was deleted"
            if is_over(counts) or (stopped and not tally.running + tally.saving):
                return stopped
            await asyncio.wait([failed], timeout=pause(context.clock.now() - began, EVERY))
        failed.result()
        return ""
    finally:
        await background.close()
        failed.cancel()
