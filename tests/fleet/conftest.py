"""Several processes of a fleet inside the test's process: each ``member`` has its own session and journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from replicate_job import Result
from replicate_job.batch_calls import BatchCall
from replicate_job.clock import Clock, SystemClock
from replicate_job.database import DatabaseURL
from replicate_job.fleet.parts import Fleet, open_tables
from replicate_job.fleet.results import results
from replicate_job.fleet.submit import submit
from replicate_job.fleet.worker import work
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.session import open_session
from replicate_job.settings import Settings
from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.conftest import Heard
    from tests.postgres import Postgres

MODEL = "black-forest-labs/flux-schnell"
Rows = list[dict[str, Any]]


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    name = postgres.create()
    yield name
    postgres.drop(name)


@pytest.fixture
def query(postgres: Postgres, database: str) -> Callable[..., Rows]:
    """Run a statement in the journal's schema."""

    def query(statement: str) -> Rows:
        url, rows = postgres.url(database), psycopg.rows.dict_row
        with psycopg.connect(url, options="-c search_path=replicate_job", autocommit=True, row_factory=rows) as found:
            cursor = found.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return query


@pytest.fixture
def settings(postgres: Postgres, database: str, api: ScriptedAPI, tmp_path: Path) -> Settings:
    url = DatabaseURL(postgres.url(database))
    return Settings(token=api.token, base_url=api.base_url, journal=url, state=tmp_path, local=False, list_lag=0.1)


@pytest.fixture
async def member(settings: Settings, api: ScriptedAPI, heard: Heard) -> AsyncIterator[Callable[..., Awaitable[Fleet]]]:
    """A function that adds a process to the fleet."""
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=0.05, output="done"))
    async with AsyncExitStack() as stack:

        async def join(clock: Clock = SystemClock(), **changed: Any) -> Fleet:  # noqa: B008 - sharing one is safe: it has no state
            its = msgspec.structs.replace(settings, **changed)
            context = await stack.enter_async_context(open_session(its, heard, rate=None, clock=clock))
            return Fleet(context, open_tables(context))

        yield join


@pytest.fixture
def submitted(settings: Settings) -> Callable[..., Awaitable[FleetBatch]]:
    """A function that submits rows, as ``submit_batch`` does."""

    async def submitted(
        fleet: Fleet, rows: Rows, rate: float | None = None, job: Any = MODEL, **options: Any
    ) -> FleetBatch:
        context = fleet.context
        call = BatchCall(job, rows, options, settings=settings, folder=None)  # type: ignore[arg-type] # by name
        batch, model = await call.prepare(context)
        await submit(context, fleet.tables, batch, model, call.rows, rate=rate)
        found = await fleet.tables.find(batch.id, context.api)
        assert found
        return found

    return submitted


@asynccontextmanager
async def working(*fleets: Fleet) -> AsyncIterator[None]:
    """Run workers of these processes during the block."""
    workers = [asyncio.create_task(work(fleet.context, 2)) for fleet in fleets]
    try:
        yield
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)


async def to_end(fleet: Fleet, batch: FleetBatch) -> list[Result]:
    """All results of the batch, in the order of its rows. This process is a worker until then."""
    async with working(fleet):
        return await ended(fleet, batch)


async def ended(fleet: Fleet, batch: FleetBatch) -> list[Result]:
    """All results of the batch, in the order of its rows. Other processes are the workers."""
    async with asyncio.timeout(60):
        pages = [page async for page in results(fleet.context, fleet.tables, batch, follow=True)]
    return sorted(
        (result for page in pages for result in page), key=lambda result: (result.line or 0, str(result.grid))
    )
