"""Submitting, reading and canceling a fleet's batch from Python."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.fleet.conftest import MODEL

from replicate_job import AsyncClient, Client
from replicate_job.batches.results.record import NO_PREDICTION
from replicate_job.errors import JobError
from replicate_job.fleet.cancel import cancel_named
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.parts import Fleet
from replicate_job.fleet.results import results
from replicate_job.fleet.worker import work
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.testing import Script, ScriptedAPI

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def options(postgres: Any, database: str, api: ScriptedAPI) -> dict[str, Any]:
    return {"token": api.token, "base_url": api.base_url, "journal": postgres.url(database), "rate": "none"}


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(1, number + 1)]


async def test_a_client_submits_a_batch_and_reads_each_result_as_its_row_ends(
    member: Member, options: dict[str, Any], api: ScriptedAPI
) -> None:
    fleet = await member()
    async with AsyncClient(**options) as client:
        handle = await client.submit_batch(MODEL, [*rows(30), {"prompt": "x", "seed": "one"}])
        before = await handle.status()
        assert (before.rows, before.waiting, before.wrong, before.is_over) == (31, 30, 1, False)
        working = asyncio.create_task(work(fleet.context, 2))
        async with asyncio.timeout(60):
            results = [result async for result in handle.results()]
        working.cancel()
        await asyncio.wait([working])
        status = await client.batch_handle(handle.id).status()
    assert sorted(result.line for result in results) == list(range(1, 32))
    assert [result.line for result in results if result.status == NO_PREDICTION] == [31]
    assert {result.output for result in results if result.line <= 30} == {"done"}
    assert all(result.input["prompt"] == f"row {result.line}" for result in results if result.line <= 30)
    assert (status.succeeded, status.wrong, status.is_over, api.created) == (30, 1, True, 30)
    assert list(status.errors.values()) == [1]


def test_the_blocking_client_submits_a_batch_and_reads_its_results(options: dict[str, Any], api: ScriptedAPI) -> None:
    with Client(**options) as client:
        handle = client.submit_batch(MODEL, rows(3), key="b")
        assert (handle.id, handle.status().waiting) == ("b", 3)
        assert handle.cancel() == {"unsent": 3}
        assert [result.problem for result in handle.results()] == ["canceled before it was created"] * 3
        assert handle.status().stopped == "canceled"
        with pytest.raises(JobError, match="no batch 'other'"):
            client.batch_handle("other").status()
        with pytest.raises(JobError, match="fail_fast is not for batches of a fleet"):
            client.submit_batch(MODEL, rows(1), fail_fast=True)
        with pytest.raises(JobError, match="max_predict_time is not for batches of a fleet"):
            client.submit_batch(MODEL, rows(1), max_predict_time=5)
    assert api.created == 0


async def test_a_row_that_ends_while_others_are_read_comes_with_the_next_results(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(4))

    def end(*lines: int) -> None:
        query(f"UPDATE batch_rows SET problem = 'refused' WHERE line = ANY(ARRAY{list(lines)}) RETURNING line")  # noqa: S608 - numbers

    end(1, 3)
    later, given = [2, 4], list[int | None]()
    async for page in results(fleet.context, fleet.tables, batch, follow=True):
        given += [result.line for result in page]
        if later:
            end(later.pop(0))
    assert given == [1, 3, 2, 4]


async def test_running_predictions_are_canceled_on_request(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(25), key="b")
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1000))
    await create_rows(fleet, batch.number, 1, 20)
    assert await cancel_named(fleet.context, "b", running=False) == {"unsent": 5, "running": 20}
    assert await cancel_named(fleet.context, "b", running=True) == {"canceled": 20}
    assert {prediction.status for prediction in api.predictions} == {"canceled"}
    assert await cancel_named(fleet.context, "c", running=True) is None


async def test_a_name_that_is_both_a_batch_and_the_key_of_a_job_raises_an_error(
    member: Member, submitted: Submitted, options: dict[str, Any]
) -> None:
    fleet = await member()
    await submitted(fleet, rows(1), key="b")
    async with AsyncClient(**options) as client:
        await client.run(MODEL, {"prompt": "x"}, key="b")
    with pytest.raises(JobError, match="is a batch and the job"):
        await cancel_named(fleet.context, "b", running=False)
