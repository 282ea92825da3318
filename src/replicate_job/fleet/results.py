"""The results of a batch's rows, from the journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec

from replicate_job.batches.row_job import RowJob
from replicate_job.fleet.status import is_over, pause
from replicate_job.flow.collect import result_of
from replicate_job.job import Result
from replicate_job.journal.postgres_fleet import FleetBatch, FleetRow, FleetTables

PAGE = 500
"""Rows that are read at once."""
EVERY = 1.0
"""Seconds between two looks for rows that have ended, at least."""


async def results(tables: FleetTables, batch: FleetBatch, *, follow: bool) -> AsyncGenerator[list[Result], None]:
    """Yield the results of the rows that are over, some at a time.

    They come in the order of their lines. With ``follow`` those come later that end later, until all have ended.
    """
    low, beyond = -1, set[int]()  # all lines up to the first are given, and these of later ones
    while True:
        began = time.monotonic()
        is_last = not follow or is_over(await tables.counts(batch.number))
        after, given = low, list[int]()
        while rows := await tables.over_rows(batch.number, after, PAGE, sorted(beyond)):
            yield [_result(batch, row) for row in rows]
            given += [row.line for row in rows]
            after = rows[-1].line
        if is_last:
            return
        beyond.update(given)
        first = await tables.first_open(batch.number, low)
        low = low if first is None else first - 1
        beyond = {line for line in beyond if line > low}
        await asyncio.sleep(pause(time.monotonic() - began, EVERY))


def _result(batch: FleetBatch, row: FleetRow) -> Result:
    entry = row.entry
    problem = row.problem or (entry.problem if entry else "")
    if entry and entry.prediction and entry.prediction.is_terminal:
        result = result_of(entry.prediction, entry, entry.files)
        return msgspec.structs.replace(result, line=row.line, problem=problem)
    secrets = (*batch.secrets, *(entry.request.secrets if entry and entry.request else ()))
    job = row.job or (entry.job if entry else batch.job)
    return RowJob(row.line, "", job, secrets=secrets).failure(problem, row.key if entry else "")
