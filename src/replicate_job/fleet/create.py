"""The task of a few rows: each is brought to ``created``. Nothing waits for a prediction here."""

from __future__ import annotations

import asyncio

from replicate_job.aio import unless
from replicate_job.batches.row_job import another_input, is_of_row
from replicate_job.errors import (
    AuthenticationError,
    ClaimLostError,
    KeyInUseError,
    MissingVariableError,
    ModelNotFoundError,
    PaymentRequiredError,
    ReplicateJobError,
)
from replicate_job.fleet.parts import Fleet, RowContext
from replicate_job.flow.claim import take
from replicate_job.flow.job_run import Ask, JobRun
from replicate_job.flow.prepare import prepare, write_request
from replicate_job.flow.steps import STEPS
from replicate_job.flow.subject import SUBJECT
from replicate_job.inputs.content import Content
from replicate_job.inputs.upload import has_files
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.postgres_fleet import FleetBatch, FleetRow
from replicate_job.outputs.depot import Depot
from replicate_job.outputs.place import of_row

_OF_ALL = (AuthenticationError, PaymentRequiredError, ModelNotFoundError, MissingVariableError)
"""Errors that stop a batch: the next row would meet them too, on any machine."""
AGAIN = 5.0
"""Seconds after which a task is done again whose rows could not all be created."""


class DrainingError(Exception):
    """Raised for a row that was not begun, as the process is about to end."""


async def create_rows(fleet: Fleet, number: int, first: int, last: int) -> None:
    """Create what is still to be created of these lines. What cannot be done now goes back into the queue."""
    batch = await fleet.tables.batch(number)
    if batch is None or batch.stopped:
        return
    try:
        delay = await _create(fleet, batch, first, last)
    except asyncio.CancelledError:
        await asyncio.shield(fleet.tables.defer_rows(batch, first, last, delay=0))
        raise
    if delay is not None:
        await fleet.tables.defer_rows(batch, first, last, delay=delay)


async def _create(fleet: Fleet, batch: FleetBatch, first: int, last: int) -> float | None:
    """Seconds after which the rest is to be tried; None where nothing is left."""
    rows = await fleet.rows_of(batch)
    due = [row for row in await fleet.tables.rows(batch.number, first, last) if _is_due(row)]
    outcomes = await asyncio.gather(*(_row(fleet, batch, rows, row) for row in due), return_exceptions=True)
    await fleet.tables.settle(batch, first, last)
    delay: float | None = None
    for outcome in outcomes:
        match outcome:
            case None:
                continue
            case _ if isinstance(outcome, _OF_ALL):
                await fleet.tables.stop(batch.number, str(outcome))
            case DrainingError():
                delay = delay or 0.0
            case ReplicateJobError():
                fleet.context.reporter.warn(f"{batch.id}: {outcome}")
                delay = AGAIN
            case _:
                raise outcome
    return delay


def _is_due(row: FleetRow) -> bool:
    if row.problem:
        return False
    return row.job is not None if row.entry is None else row.entry.step in {"prepare", "look up"}


async def _row(fleet: Fleet, batch: FleetBatch, rows: RowContext, row: FleetRow) -> None:
    try:
        with rows.part(row.key):
            await _create_row(fleet, batch, rows, row)
    except ClaimLostError:
        return  # another process has it now
    except ReplicateJobError as error:
        if not is_of_row(error):
            raise
        name = row.key.rpartition("/")[2]
        problem = another_input(name) if isinstance(error, KeyInUseError) else str(error)
        await fleet.tables.note_problem(batch.number, row.line, problem)


async def _create_row(fleet: Fleet, batch: FleetBatch, rows: RowContext, row: FleetRow) -> None:
    context, entry = rows.context, row.entry
    job = row.job or (entry.job if entry else batch.job)
    save = of_row(batch.save, row.line) if batch.save else None
    ask = Ask(job, row.key, save, blocking_wait=0, is_checked=True)
    SUBJECT.set(ask)  # this task is the row's own
    if fleet.draining.is_set():
        raise DrainingError
    request = slot = None
    if entry is None or entry.state == "refused":
        # The slot first: then the claim records the intent too, and nothing is waited for after it.
        request = await _request(fleet, batch, rows, job)
        slot = await unless(fleet.draining, context.client.take_slot())
        if slot is None:
            raise DrainingError
    claim = await take(context, row.key, job, save, within=None, request=request)
    run = JobRun(context, claim, ask, slot)
    SUBJECT.set(run)
    try:
        while run.result is None and run.step in {"prepare", "look up"}:
            await STEPS[run.step](run)
    finally:
        await run.leave()
    if run.fault:
        raise run.fault


async def _request(fleet: Fleet, batch: FleetBatch, rows: RowContext, job: Job) -> CreateRequest:
    """The row's create request. Its files are sent to the API now, where they live for a day at least."""
    if not has_files(job.input_data):
        return write_request(job, rows.resolved, job.input_data)
    depot = Depot(batch.depot, rows.context.stores) if batch.depot else None

    async def read(content: Content) -> bytes | None:
        return await depot.get(content) if depot else None

    async with fleet.sending:
        return await prepare(rows.context, job, rows.resolved, read)
