"""The task that creates a few rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.fleet.conftest import MODEL

from replicate_job.clock import SystemClock
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.parts import Fleet
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.testing import Script, ScriptedAPI

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
STATES = "SELECT state, holder FROM jobs"


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(number)]


class WrongClock(SystemClock):
    """A clock that is an hour off."""

    boot = "another"

    def __init__(self, hours: float) -> None:
        self._off = hours * 3600

    def time(self) -> float:
        return super().time() + self._off


async def test_rows_are_created_without_waiting_for_their_ends(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1000))
    fleet = await member()
    batch = await submitted(fleet, rows(20))
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1000))
    await create_rows(fleet, batch.number, 1, 20)
    assert query(STATES) == [{"state": "created", "holder": None}] * 20
    assert api.count("get") == 0
    assert query("SELECT DISTINCT job FROM batch_rows") == [{"job": None}]
    await create_rows(fleet, batch.number, 1, 20)  # a task may be run twice
    assert api.created == 20


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.replicate_api(list_lag=0.1, faults="create:drop-after=0.5", seed=1)
async def test_broken_create_requests_on_machines_with_wrong_clocks_cause_no_second_prediction(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, hours: int
) -> None:
    fleet, other = await member(), await member(WrongClock(hours))
    batch = await submitted(fleet, rows(20))
    work = asyncio.gather(*(create_rows(each, batch.number, 1, 20) for each in (fleet, other)))
    await asyncio.wait_for(work, 60)
    made = query("SELECT count(DISTINCT prediction_id) AS n FROM jobs")
    assert (made, api.created) == ([{"n": 20}], 20)


async def test_a_row_that_the_api_refuses_does_not_stop_the_others(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(3))
    api.faults.next("create", "422")
    await create_rows(fleet, batch.number, 1, 3)
    problems = [row.problem for row in await fleet.tables.rows(batch.number, 1, 3)]
    assert sum(bool(problem) for problem in problems) == 1
    assert api.created == 2


async def test_a_402_for_lack_of_credit_stops_the_batch(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(1))
    api.faults.next("create", "402")
    await create_rows(fleet, batch.number, 1, 1)
    (found,) = query("SELECT stopped FROM batches")
    assert "402" in found["stopped"]
    await create_rows(fleet, batch.number, 1, 1)
    assert api.created == 0


async def test_a_worker_that_is_shutting_down_returns_the_rows_that_it_has_not_started(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(2))
    query("DELETE FROM procrastinate_jobs")
    fleet.draining.set()
    await create_rows(fleet, batch.number, 1, 2)
    tasks = query("SELECT args FROM procrastinate_jobs WHERE status = 'todo'")
    assert tasks == [{"args": {"batch": batch.number, "first": 1, "last": 2}}]
    assert api.created == 0


async def test_every_worker_uses_the_model_as_it_was_resolved_when_the_batch_was_submitted(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    batch = await submitted(await member(), rows(1))
    asked = api.count("model")
    other = await member()
    await create_rows(other, batch.number, 1, 1)
    assert (api.created, api.count("model")) == (1, asked)
