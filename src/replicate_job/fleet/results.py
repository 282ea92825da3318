"""The results of a batch's rows, from the journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import msgspec

from replicate_job.batches.attempts import attempt_key, attempt_number
from replicate_job.batches.row_job import RowJob
from replicate_job.fleet.chains import chain_results
from replicate_job.fleet.plan import FleetPlan, plan_of
from replicate_job.fleet.status import is_over, pause
from replicate_job.flow.context import Context
from replicate_job.job import Result
from replicate_job.journal.postgres import CANCELED
from replicate_job.journal.postgres_fleet import FleetBatch, FleetRow, FleetTables

PAGE = 500
"""The number of rows that are read together."""
_UNDER_WAY = {"intended", "created", "ended"}
EVERY = 1.0
"""The shortest time in seconds between two searches for rows that have ended."""


async def results(
    context: Context, tables: FleetTables, batch: FleetBatch, *, follow: bool
) -> AsyncGenerator[list[Result], None]:
    """Yield the results of the rows that are over, in portions.

    Results are in the order of their lines. With ``follow``, the results of the other rows come as the rows end, until
    all rows have ended, or until the batch is stopped and none of its predictions runs.
    """
    low, beyond = -1, set[int]()  # yielded so far: all lines up to ``low``, and the later lines in ``beyond``
    while True:
        began = time.monotonic()
        is_last = not follow or await _is_at_rest(tables, batch)
        # Read the first open line before the rows that are over, since other rows may end in between.
        first = None if is_last else await tables.first_open(batch.number, low)
        after, given = low, list[int]()
        while rows := await tables.over_rows(batch.number, after, PAGE, sorted(beyond)):
            yield await _results(context, batch, rows)
            given += [row.number for row in rows]
            after = rows[-1].number
        if is_last:
            return
        beyond.update(given)
        low = low if first is None else first - 1
        beyond = {line for line in beyond if line > low}
        await asyncio.sleep(pause(time.monotonic() - began, EVERY))


async def _is_at_rest(tables: FleetTables, batch: FleetBatch) -> bool:
    current = await tables.batch(batch.number)  # read before the rows: if the batch is stopped now, no more rows begin
    counts = await tables.counts(batch.number)
    if current is None or is_over(counts):
        return True
    if current.stopped in {"", CANCELED}:  # in a canceled batch, a worker closes the other rows
        return False
    return not any(each.state in _UNDER_WAY for each in counts if not each.over)


async def _results(context: Context, batch: FleetBatch, rows: Sequence[FleetRow]) -> list[Result]:
    """The results of these rows, each with its earlier attempts or the steps of its chain."""
    plan = plan_of(batch)
    if chain := plan.chain:
        return await chain_results(context, batch, plan, chain, rows)
    keys = {
        row.number: [attempt_key(batch.id, row.name, each) for each in range(1, attempt_number(batch.id, row.key))]
        for row in rows
        if row.name and row.key and not row.reused
    }
    asked = [key for several in keys.values() for key in several]
    entries = await context.journal.look_up(asked) if asked else {}
    made = {key: plan.result_of(entry) for key, entry in entries.items() if entry.prediction}
    return [
        msgspec.structs.replace(
            _result(plan, batch, row), earlier=tuple(made[key] for key in keys.get(row.number, ()) if key in made)
        )
        for row in rows
    ]


def _result(plan: FleetPlan, batch: FleetBatch, row: FleetRow) -> Result:
    entry = row.entry
    problem = row.problem or (entry.problem if entry else "")
    if entry and entry.prediction and entry.prediction.is_terminal:
        result = plan.result_of(entry)
        return msgspec.structs.replace(result, line=row.line, problem=problem, grid=row.grid, reused=row.reused)
    secrets = (*batch.secrets, *(entry.request.secrets if entry and entry.request else ()))
    job = row.job or (entry.job if entry else batch.job)
    return RowJob(row.line, "", job, secrets=secrets, grid=row.grid).failure(problem, row.key if entry else "")
