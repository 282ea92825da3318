"""The task that creates the predictions of a few rows, without waiting for their ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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
from replicate_job.fleet.bring import DrainingError, bring
from replicate_job.fleet.budget import admit
from replicate_job.fleet.chains import run_chains
from replicate_job.fleet.next import advance, next_job
from replicate_job.fleet.parts import Fleet, Rows
from replicate_job.flow.job_run import Ask
from replicate_job.journal.postgres import CANCELED
from replicate_job.journal.postgres_fleet import FleetBatch, FleetRow
from replicate_job.outputs.place import of_row

_OF_ALL = (AuthenticationError, PaymentRequiredError, ModelNotFoundError, MissingVariableError)
"""Errors that stop a batch, since every later row would get them too, on any machine."""
FULL = 1.0
"""If the cost limit admits no more rows of a task now, the task waits this many seconds, and is then repeated."""
AGAIN = 5.0
"""Seconds until a task is repeated if some of its rows could not be created."""


async def create_rows(fleet: Fleet, number: int, first: int, last: int) -> None:
    """Create the jobs of the rows ``first`` to ``last`` in the batch with this number.

    If some jobs cannot be created now, the task is repeated.
    """
    batch = await fleet.tables.batch(number)
    if batch is None:
        return
    try:
        rows = await fleet.rows_of(batch)
        delay = await (_wind_up if batch.stopped else _create)(fleet, rows, first, last)
    except asyncio.CancelledError:
        await asyncio.shield(fleet.tables.defer_rows(batch, first, last, delay=0))
        raise
    if delay is not None:
        await fleet.tables.defer_rows(batch, first, last, delay=delay)


async def _wind_up(fleet: Fleet, rows: Rows, first: int, last: int) -> float | None:
    """Finish the rows of a stopped batch without creating more rows. Returns the same as ``_create``.

    For a canceled batch, also find out whether begun jobs have predictions. The journal prevents new requests.
    """
    if rows.chain:
        delay, _ = await _create_chains(fleet, rows, first, last)
        return delay
    found = await advance(fleet, rows, first, last)
    if rows.batch.stopped != CANCELED:
        return None
    begun = [row for row in found if row.entry and row.entry.state in {"claimed", "intended"} and _may_begin(row)]
    return await _bring_rows(fleet, rows, begun, first, last)


async def _create(fleet: Fleet, rows: Rows, first: int, last: int) -> float | None:
    """Create the rows. Returns the seconds until the remaining rows are to be tried, None without remaining rows."""
    delay, is_full = await (_create_chains if rows.chain else _create_jobs)(fleet, rows, first, last)
    if is_full:  # without this pause, tasks of waiting rows would keep the worker busy
        await unless(fleet.draining, asyncio.sleep(FULL))
        return FULL
    return delay


async def _create_chains(fleet: Fleet, rows: Rows, first: int, last: int) -> tuple[float | None, bool]:
    """Create the steps that can start. Returns the same as ``_create_jobs``."""
    outcomes, is_full = await run_chains(fleet, rows, first, last)
    return await _delay(fleet, rows.batch, outcomes), is_full


async def _create_jobs(fleet: Fleet, rows: Rows, first: int, last: int) -> tuple[float | None, bool]:
    """Create rows. Returns the same as ``_create``, and whether some rows have to wait for the cost limit."""
    due = [row for row in await advance(fleet, rows, first, last) if _is_due(row)]
    due, is_full = await admit(fleet, rows, due)
    delay = await _bring_rows(fleet, rows, due, first, last)
    if rows.plan.goes_on:  # some rows are over already, or wait for their next attempt
        found = await advance(fleet, rows, first, last)
        pauses = [row.due_in for row in found if row.due_in and _may_begin(row)]
        delay = min([*pauses, *([] if delay is None else [delay])], default=None)
    return delay, is_full


async def _bring_rows(fleet: Fleet, rows: Rows, which: Sequence[FleetRow], first: int, last: int) -> float | None:
    """Create the predictions of these rows, and record errors that end rows. Returns the same as ``_create``."""
    outcomes = await asyncio.gather(*(_row(fleet, rows, row) for row in which), return_exceptions=True)
    await fleet.tables.settle(rows.batch, first, last)
    return await _delay(fleet, rows.batch, outcomes)


async def _delay(fleet: Fleet, batch: FleetBatch, outcomes: Sequence[BaseException | None]) -> float | None:
    """Seconds until the rows with errors are to be tried again. None without such rows. May stop the batch."""
    delay: float | None = None
    for outcome in outcomes:
        match outcome:
            case None:
                continue
            case _ if isinstance(outcome, _OF_ALL):
                await fleet.tables.stop(batch.number, str(outcome))
            case DrainingError():
                delay = 0.0
            case ReplicateJobError():
                fleet.context.reporter.warn(f"{batch.id}: {outcome}")
                delay = AGAIN if delay is None else delay
            case _:
                raise outcome
    return delay


def _is_due(row: FleetRow) -> bool:
    return not row.due_in and _may_begin(row)


def _may_begin(row: FleetRow) -> bool:
    if row.problem or row.reused:
        return False
    return row.job is not None if row.entry is None else row.entry.step in {"prepare", "look up"}


async def _row(fleet: Fleet, rows: Rows, row: FleetRow) -> None:
    try:
        with rows.part(row.key):
            await _create_row(fleet, rows, row)
    except ClaimLostError:
        return  # another process runs the job now
    except ReplicateJobError as error:
        if not is_of_row(error):
            raise
        name = row.key.rpartition("/")[2]
        problem = another_input(name) if isinstance(error, KeyInUseError) else str(error)
        await fleet.tables.note_problem(rows.batch.number, row.key, problem)


async def _create_row(fleet: Fleet, rows: Rows, row: FleetRow) -> None:
    batch, entry = rows.batch, row.entry
    job = entry.job if entry else await next_job(rows, row)
    model = rows.model(job.model)
    save = of_row(batch.save, row.line) if batch.save else None
    await bring(fleet, model, Ask(job, row.key, save, blocking_wait=0, is_checked=True), entry, batch.depot)
