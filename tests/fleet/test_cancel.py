"""A row that a canceled batch reports as not created is never created later, whatever its workers are doing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from tests.fleet.conftest import MODEL, to_end

from replicate_job.batch_calls import BatchCall
from replicate_job.fleet.cancel import cancel_named
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.parts import Fleet
from replicate_job.fleet.results import results
from replicate_job.journal.postgres import CANCELED_ROW
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.settings import Settings
from replicate_job.testing import ScriptedAPI

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
BLOCKED = (
    "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    " AND query !~ 'procrastinate'"
)


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(1, number + 1)]


async def seen(fleet: Fleet, batch: FleetBatch) -> dict[int | None, tuple[str, str]]:
    pages = [page async for page in results(fleet.context, fleet.tables, batch, follow=False)]
    return {result.line: (result.prediction_id, result.problem) for page in pages for result in page}


@pytest.fixture
def locked(postgres: Any, database: str) -> Callable[[str], Any]:
    """A context manager that locks the table against writes."""

    @asynccontextmanager
    async def locked(table: str) -> AsyncIterator[None]:
        async with await psycopg.AsyncConnection.connect(postgres.url(database)) as connection:
            await connection.execute(f"LOCK TABLE replicate_job.{table} IN EXCLUSIVE MODE".encode())
            yield

    return locked


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


async def test_a_row_whose_claim_is_being_committed_is_not_reported_as_not_created(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, locked: Any
) -> None:
    fleet, other = await member(), await member()
    batch = await submitted(fleet, rows(4), key="b")
    async with locked("jobs"):
        creating = asyncio.create_task(create_rows(fleet, batch.number, 1, 4))
        await until(lambda: query(BLOCKED)[0]["n"])
        blocked = query(BLOCKED)[0]["n"]
        canceling = asyncio.create_task(cancel_named(other.context, "b", running=False))
        await until(lambda: canceling.done() or query(BLOCKED)[0]["n"] > blocked)
    outcomes = await asyncio.wait_for(canceling, 30)
    first = await seen(other, batch)
    await asyncio.wait_for(creating, 30)
    assert outcomes == Counter(unsent=len(first), running=api.created) - Counter()
    assert len(first) + api.created == 4
    assert {line: now for line, now in (await seen(other, batch)).items() if line in first} == first


async def test_canceled_rows_that_wait_for_the_rate_limit_are_not_created(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet, other = await member(), await member()
    batch = await submitted(fleet, rows(20), key="b", rate=20.0)
    fleet.context.client.creates.change(20.0)
    creating = asyncio.create_task(create_rows(fleet, batch.number, 1, 20))
    await until(lambda: api.created)
    await cancel_named(other.context, "b", running=False)
    first = await seen(other, batch)
    await asyncio.wait_for(creating, 30)
    assert first
    assert len(first) + api.created == 20
    assert {line: now for line, now in (await seen(other, batch)).items() if line in first} == first


@pytest.mark.parametrize(("fault", "state"), [("429(body=9)", "claimed"), ("hang", "intended")])
async def test_a_canceled_row_whose_worker_died_before_its_create_request_is_finished(  # noqa: PLR0913, PLR0917 - fixtures
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, fault: str, state: str
) -> None:
    fleet, other = await member(), await member()
    batch = await submitted(fleet, rows(1), key="b")
    api.faults.next("create", fault)
    creating = asyncio.create_task(create_rows(fleet, batch.number, 1, 1))
    await until(lambda: api.count("create") and query(f"SELECT key FROM jobs WHERE state = '{state}'"))  # noqa: S608 - a state
    creating.cancel()
    await asyncio.wait([creating])
    assert await cancel_named(other.context, "b", running=False) == {"running": 1}
    query("DELETE FROM procrastinate_jobs")
    [result] = await to_end(other, batch)
    assert (result.problem, api.created) == (CANCELED_ROW, 0)
    assert query("SELECT state, holder FROM jobs") == [{"state": "refused", "holder": None}]


async def test_a_canceled_batch_runs_when_it_is_started_again_without_the_fleet(
    member: Member, submitted: Submitted, settings: Settings, api: ScriptedAPI
) -> None:
    fleet = await member()
    await submitted(fleet, rows(2), key="b")
    await cancel_named(fleet.context, "b", running=False)
    call = BatchCall(MODEL, rows(2), {"key": "b"}, settings=settings, folder=None)
    runner = await call.runner(fleet.context)
    found = [result async for page in runner.run(call.rows) for result in page]
    assert [(result.status, result.problem) for result in found] == [("succeeded", "")] * 2
    assert api.created == 2


async def test_submitting_a_batch_again_locks_the_batch_before_it_locks_any_rows(
    member: Member, submitted: Submitted, query: Query, postgres: Any, database: str
) -> None:
    """A process that records the rows of a canceled batch locks in the same order, so there is no deadlock."""
    fleet = await member()
    await submitted(fleet, rows(2), key="b")
    async with await psycopg.AsyncConnection.connect(postgres.url(database)) as connection:
        await connection.execute("SELECT FROM replicate_job.batches WHERE id = 'b' FOR SHARE")
        submitting = asyncio.ensure_future(submitted(fleet, rows(2), key="b"))
        await until(lambda: query(BLOCKED)[0]["n"])
        assert len(query("SELECT line FROM batch_rows FOR UPDATE NOWAIT")) == 4  # the batch's, and the draft's
    await asyncio.wait_for(submitting, 30)
