"""The watcher: the one process that polls for the ends of predictions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from tests.fleet.conftest import MODEL

from replicate_job.batches.progress import Tally
from replicate_job.fleet.collect import collect_jobs
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.follow import follow
from replicate_job.fleet.parts import Fleet
from replicate_job.fleet.watcher import ROLE, Watcher
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.testing import OutputFile, Script, ScriptedAPI

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(number)]


@asynccontextmanager
async def watching(fleet: Fleet) -> AsyncIterator[Watcher]:
    watcher = Watcher(fleet)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the database has no event to wait for
            await asyncio.sleep(0.05)


async def test_the_watcher_finishes_rows_that_have_no_files_to_save(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(10))
    await create_rows(fleet, batch.number, 1, 10)
    async with watching(fleet):
        await until(lambda: query("SELECT DISTINCT state FROM jobs") == [{"state": "collected"}])
    assert query("SELECT * FROM procrastinate_jobs WHERE task_name = 'collect'") == []
    assert query("SELECT * FROM roles WHERE role = 'watcher'") == []  # it resigned


async def test_the_end_of_a_prediction_is_written_together_with_the_task_that_saves_its_outputs(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, tmp_path: Any
) -> None:
    fleet = await member()
    paint = Script(duration=0.05, output=[OutputFile(content=b"RIFF0000WEBPpicture", name="a.webp")])
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=paint)
    batch = await submitted(fleet, rows(3), save_to=tmp_path / "out")
    await create_rows(fleet, batch.number, 1, 3)
    tasks = "SELECT args FROM procrastinate_jobs WHERE task_name = 'collect'"
    async with watching(fleet):
        await until(lambda: query("SELECT DISTINCT state FROM jobs") == [{"state": "ended"}])
    seqs = [seq for task in query(tasks) for seq in task["args"]["seqs"]]
    assert len(seqs) == 3
    await collect_jobs(fleet, seqs)
    assert query("SELECT DISTINCT state FROM jobs") == [{"state": "collected"}]
    assert len(list((tmp_path / "out").rglob("*.webp"))) == 3


async def test_one_process_is_elected_and_another_replaces_it_after_its_lease(member: Member, query: Query) -> None:
    one, other = await member(), await member()
    assert await one.tables.elect(ROLE, one.api, 60)
    assert await one.tables.elect(ROLE, one.api, 60)
    assert not await other.tables.elect(ROLE, other.api, 60)
    query("UPDATE roles SET until = 0")  # as if the watcher had been stopped
    assert await other.tables.elect(ROLE, other.api, 60)
    assert not await one.tables.elect(ROLE, one.api, 60)
    await one.tables.resign(ROLE, one.api)  # too late: another process has the role
    assert not await one.tables.elect(ROLE, one.api, 60)


async def test_a_prediction_unknown_to_the_api_is_a_problem_of_its_row(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    fleet.context = msgspec.structs.replace(
        fleet.context, retry_policy=msgspec.structs.replace(fleet.context.retry_policy, appear=0)
    )
    batch = await submitted(fleet, rows(1))
    await create_rows(fleet, batch.number, 1, 1)
    query("UPDATE jobs SET prediction_id = 'gone', prediction = NULL, state = 'created', status = NULL")
    async with watching(fleet):
        await until(lambda: query("SELECT problem FROM batch_rows")[0]["problem"])
    (row,) = await fleet.tables.rows(batch.number, 1, 1)
    assert "404" in row.problem


async def test_a_process_that_follows_a_batch_becomes_the_watcher_without_workers(
    member: Member, submitted: Submitted
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(5))
    await create_rows(fleet, batch.number, 1, 5)
    tally = Tally()
    async with asyncio.timeout(30):
        assert await follow(fleet.context, fleet.tables, batch, tally) == ""
    assert (tally.succeeded, tally.total) == (5, 5)
