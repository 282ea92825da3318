"""Decides whether another attempt follows a row's finished job."""

from __future__ import annotations

from replicate_job.batches.attempts import attempt_key, attempt_number, attempts_before, has_failed
from replicate_job.batches.row_job import RowJob
from replicate_job.fleet.parts import Fleet, Rows
from replicate_job.job import Job
from replicate_job.journal.postgres import CANCELED
from replicate_job.journal.postgres_fleet import FleetRow, Move


async def advance(fleet: Fleet, rows: Rows, first: int, last: int) -> list[FleetRow]:
    """Set the next job of each row whose job is over, or close the row. Returns the rows ``first`` to ``last``."""
    batch = rows.batch
    found = await fleet.tables.rows(batch.number, first, last)
    over = [row for row in found if row.is_open and not row.reused and row.entry and row.entry.step == "done"]
    if not over:
        return found
    moves = await _moves(rows, over) if batch.stopped != CANCELED else {}
    if moves:
        await fleet.tables.move(batch.number, list(moves.values()))
    if closed := [row.name for row in over if row.name not in moves]:
        await fleet.tables.close(batch.number, closed)
    return await fleet.tables.rows(batch.number, first, last)


async def _moves(rows: Rows, over: list[FleetRow]) -> dict[str, Move]:
    """The next attempts of these rows, by the names of the rows. Rows without a next attempt are left out."""
    policy, batch = rows.policy, rows.batch
    failed = {row.name: row.entry for row in over if row.entry and has_failed(row.entry)}
    if policy is None or not failed:
        return {}
    before = await attempts_before(rows.own.context, batch.id, failed)
    moves: dict[str, Move] = {}
    for row in over:
        if (entry := failed.get(row.name)) is None:
            continue
        item, entries = _item(rows, row), (*before.get(row.name, ()), entry)
        due = policy.model_after(item, entries)
        if due is not None:
            key = attempt_key(batch.id, row.name, attempt_number(batch.id, entry.key) + 1)
            pause = policy.policy.pause(policy.tries(item, entries), due)
            moves[row.name] = Move(row.name, row.key, key, pause)
    return moves


async def next_job(rows: Rows, row: FleetRow) -> Job:
    """The job to create for a row whose key has no job in the journal yet."""
    item, batch = _item(rows, row), rows.batch
    number = attempt_number(batch.id, row.key)
    if rows.policy is None or number == 1:
        return item.job
    keys = [attempt_key(batch.id, row.name, each) for each in range(1, number)]
    entries = await rows.own.context.journal.look_up(keys)
    earlier = [entries[key] for key in keys if key in entries]
    due = rows.policy.model_after(item, earlier, is_retried=True) if earlier else None
    return rows.policy.jobs(item)[due or 0]


def _item(rows: Rows, row: FleetRow) -> RowJob:
    return RowJob(row.line, row.name, row.job or rows.batch.job)
