"""The task that keeps the outputs of a few ended jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from replicate_job.batches.row_job import is_of_row
from replicate_job.errors import ClaimLostError, ReplicateJobError
from replicate_job.fleet.parts import Fleet, Rows
from replicate_job.flow.claim import take
from replicate_job.flow.job_run import Ask, JobRun
from replicate_job.flow.steps import STEPS
from replicate_job.flow.subject import SUBJECT
from replicate_job.journal.entry import Entry

AGAIN = 15.0
"""Seconds until another try to keep outputs that could not be kept: a disk may be full, or a store unreachable."""


async def collect_jobs(fleet: Fleet, seqs: Sequence[int]) -> None:
    """Keep the outputs of these jobs. Jobs that cannot be finished now are put back into the queue."""
    jobs = [(seq, entry) for seq, entry in await fleet.tables.jobs(seqs) if entry.step == "collect"]
    batches = await fleet.rows_named(entry.batch for _, entry in jobs if entry.batch)
    jobs = [(seq, entry) for seq, entry in jobs if entry.batch in batches]
    try:
        outcomes = await asyncio.gather(
            *(_job(fleet, entry, batches[entry.batch or ""]) for _, entry in jobs), return_exceptions=True
        )
    except asyncio.CancelledError:
        await asyncio.shield(fleet.tables.defer_collect(fleet.api, [seq for seq, _ in jobs], delay=0))
        raise
    again = []
    for (seq, _), outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, ReplicateJobError):
            fleet.context.reporter.warn(str(outcome))
            again.append(seq)
    await fleet.tables.defer_next(fleet.api, [entry for _, entry in jobs])
    if again:
        await fleet.tables.defer_collect(fleet.api, again, delay=AGAIN)
    for outcome in outcomes:
        if outcome and not isinstance(outcome, ReplicateJobError):
            raise outcome


async def _job(fleet: Fleet, entry: Entry, rows: Rows) -> None:
    context = rows.model(entry.job.model).context
    claim = await take(context, entry.key, entry.job, entry.save, within=None)
    run = JobRun(context, claim, Ask(entry.job, entry.key, entry.save, is_checked=True))
    SUBJECT.set(run)  # not reset, since this task works for this job only
    try:
        if run.step != "collect":
            return
        with rows.part(entry.key):
            await STEPS["collect"](run)
        if run.fault:
            raise run.fault
        if run.entry.state != "collected":  # the prediction failed, and the step only warned of its lost outputs
            await fleet.tables.note_problem_of(entry, "its outputs could not be kept")
    except ClaimLostError:
        return  # another process runs the job now
    except ReplicateJobError as error:
        if not is_of_row(error):
            raise
        await fleet.tables.note_problem_of(entry, str(error))
    finally:
        await run.leave()
