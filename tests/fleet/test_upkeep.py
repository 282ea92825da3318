"""No work is forgotten: tasks of dead workers, lost tasks, and finished batches are found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from replicate_job.fleet.create import create_rows
from replicate_job.fleet.parts import Fleet
from replicate_job.fleet.queue import serve
from replicate_job.fleet.upkeep import Upkeep
from replicate_job.journal.postgres import PostgresJournal
from replicate_job.journal.postgres_fleet import FleetBatch

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
TASKS = "SELECT status::text, args FROM procrastinate_jobs ORDER BY id"


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(number)]


def take(query: Query, *, seen: int) -> None:
    """Give all tasks to a worker whose last heartbeat was so many seconds ago."""
    query("INSERT INTO procrastinate_workers DEFAULT VALUES")
    query("UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT max(id) FROM procrastinate_workers)")
    query(f"UPDATE procrastinate_workers SET last_heartbeat = now() - interval '{seen} s'")  # noqa: S608 - a number


async def test_tasks_of_a_worker_without_a_heartbeat_are_queued_again(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    await submitted(fleet, rows(30))
    take(query, seen=5)
    assert await fleet.tables.give_again(fleet.api) == 0
    take(query, seen=10)
    assert await fleet.tables.give_again(fleet.api) == 2
    assert [task["status"] for task in query(TASKS)] == ["todo", "todo"]


async def test_a_stalled_task_that_already_has_a_successor_is_not_queued_again(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(3))
    take(query, seen=10)
    await fleet.tables.defer_rows(batch, 1, 3, delay=0)
    await fleet.tables.give_again(fleet.api)
    assert [task["status"] for task in query(TASKS)] == ["todo"]


async def test_a_task_that_was_queued_again_is_not_ended_by_the_end_of_its_first_run(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    await submitted(fleet, rows(3))
    has_run_again, runs = asyncio.Event(), 0

    async def run(**_: int) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            has_run_again.set()
            return
        query("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 day'")
        assert await fleet.tables.give_again(fleet.api) == 1

    store = cast("PostgresJournal", fleet.context.journal).store
    serving = asyncio.create_task(serve(store, fleet.api, {"rows": run}, concurrency=1, interrupted=print))
    try:
        async with asyncio.timeout(20):
            await has_run_again.wait()
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def test_lost_tasks_are_created_again_from_the_rows_in_the_journal(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(45))
    await create_rows(fleet, batch.number, 21, 40)
    query("DELETE FROM procrastinate_jobs")
    assert await fleet.tables.defer_lost(fleet.api) == 2
    assert [task["args"]["first"] for task in query(TASKS)] == [1, 41]
    assert await fleet.tables.defer_lost(fleet.api) == 0  # the tasks wait in the queue now
    query("UPDATE jobs SET state = 'ended', status = 'succeeded' WHERE seq = 1")
    assert await fleet.tables.defer_lost(fleet.api) == 1
    assert await fleet.tables.defer_lost(fleet.api) == 0


async def test_a_worker_is_listed_and_uses_the_lowest_rate_of_the_running_batches(
    member: Member, submitted: Submitted
) -> None:
    fleet = await member()
    await submitted(fleet, rows(1), key="slow", rate=2.0)
    await submitted(fleet, rows(1), key="fast", rate=50.0)
    await Upkeep(fleet, 6).once()
    assert [worker.concurrency for worker in await fleet.tables.workers(fleet.api)] == [6]
    assert fleet.context.client.creates.pace == pytest.approx(2 * 0.98)
    await fleet.tables.gone()
    assert await fleet.tables.workers(fleet.api) == []


async def test_an_unfinished_batch_is_not_pruned(member: Member, submitted: Submitted, query: Query) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(1), key="b")
    journal = fleet.context.journal
    await journal.prune(journal.time() + 60)
    assert await fleet.tables.find("b", fleet.api) == batch
    await fleet.tables.cancel(batch.number)
    await fleet.tables.defer_lost(fleet.api)
    await journal.prune(journal.time() + 60)
    assert await fleet.tables.find("b", fleet.api) is None
    assert query("SELECT * FROM batch_rows") == []
