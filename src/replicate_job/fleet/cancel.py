"""Cancels a batch of a fleet."""

from __future__ import annotations

import asyncio
from collections import Counter

from replicate_job.errors import JobError, ReplicateJobError
from replicate_job.fleet.parts import open_tables
from replicate_job.fleet.status import is_over
from replicate_job.flow.by_name import find
from replicate_job.flow.cancel import cancel_job
from replicate_job.flow.context import Context
from replicate_job.journal.entry import Entry
from replicate_job.journal.postgres_fleet import FleetBatch, FleetTables

AT_ONCE = 16
"""The number of predictions that are canceled at the same time."""


async def cancel_named(context: Context, name: str, *, running: bool) -> Counter[str] | None:
    """Cancel the batch with this name (see ``cancel_batch``). None if no batch has the name.

    Raises JobError if a job has that name too.
    """
    if context.ephemeral:
        return None
    tables = open_tables(context)
    batch = await tables.find(name, context.api)
    if batch is None:
        return None
    if job := await find(context, name):
        raise JobError(f"{name!r} is a batch and the job {job.key!r} too: name the job by {job.prediction_id or 'id'}")
    return await cancel_batch(context, tables, batch, running=running)


async def cancel_batch(context: Context, tables: FleetTables, batch: FleetBatch, *, running: bool) -> Counter[str]:
    """Stop creating rows of the batch. With ``running``, also cancel its predictions.

    A batch that is over is not changed. Returns the numbers of rows that were ``unsent`` or ``canceled``, are still
    ``running``, or could not be canceled (``unknown``).
    """
    if is_over(await tables.counts(batch.number)):
        return Counter()
    outcomes = Counter({"unsent": await tables.cancel(batch.number)})
    entries = [entry for entry in await tables.under_way(batch.number) if entry.api == context.api]
    if not running:
        return outcomes + Counter({"running": len(entries)})
    room = asyncio.Semaphore(AT_ONCE)

    async def cancel(entry: Entry) -> None:
        async with room:
            try:
                found = await cancel_job(context, entry)
            except ReplicateJobError as error:
                context.reporter.warn(f"{entry.key}: {error}")
                outcomes["unknown"] += 1
            else:
                outcomes["canceled" if found else "unsent"] += 1

    await asyncio.gather(*map(cancel, entries))
    await tables.cancel(batch.number)  # closes rows whose jobs turned out to have no prediction
    return +outcomes
