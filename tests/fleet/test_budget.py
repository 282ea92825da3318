"""All workers of a fleet keep a batch's cost limit, even if one of them dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.fleet.conftest import MODEL, ended, working

from replicate_job.batches.progress import Tally
from replicate_job.errors import JobError, JournalError
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.follow import follow
from replicate_job.fleet.parts import Fleet
from replicate_job.fleet.results import results
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.conftest import Heard

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(number)]


async def until_stopped(fleet: Fleet, batch: FleetBatch, *others: Fleet) -> str:
    async with working(fleet, *others):
        return await asyncio.wait_for(follow(fleet.context, fleet.tables, batch, Tally()), 60)


async def test_all_workers_stop_at_the_cost_limit_and_continue_with_a_higher_one(
    member: Member, submitted: Submitted, api: ScriptedAPI, heard: Heard
) -> None:
    fleet, other = await member(), await member()
    batch = await submitted(fleet, rows(50), key="b", max_cost=Decimal("0.255"), price="0.01/run")
    assert any("$0.00 of $0.255 are spent; it is not exceeded" in line for line in heard.told), heard.told
    stopped = await until_stopped(fleet, batch, other)
    assert "$0.25 are spent" in stopped
    assert api.created == 25
    pages = [page async for page in results(fleet.context, fleet.tables, batch, follow=False)]
    assert {result.cost for page in pages for result in page} == {Decimal("0.01")}
    assert len(await ended(fleet, batch)) == 25  # the others begin with a larger limit alone: nothing is waited for
    again = await submitted(fleet, rows(50), key="b", max_cost=Decimal("0.255"), price="0.01/run")
    assert "$0.25 are spent" in await until_stopped(fleet, again)
    assert api.created == 25
    more = await submitted(fleet, rows(50), key="b", max_cost=Decimal("0.4"), price="0.01/run")
    assert "$0.40 are spent" in await until_stopped(fleet, more, other)
    assert api.created == 40


async def test_amounts_set_aside_for_running_rows_count_once_even_if_their_worker_died(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    """A worker is stopped after amounts were set aside for its rows, and before it has sent the rows."""
    fleet, other = await member(), await member()
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1000))
    batch = await submitted(fleet, rows(20), key="b", max_cost=Decimal("0.1"), price="0.01/run")
    fleet.draining.set()
    with suppress(asyncio.CancelledError):
        await create_rows(fleet, batch.number, 1, 20)
    assert (api.created, query("SELECT count(*) AS n FROM holds")) == (0, [{"n": 10}])
    other.draining = asyncio.Event()
    await asyncio.gather(*(create_rows(other, batch.number, 1, 20) for _ in range(2)))
    assert (api.created, query("SELECT count(*) AS n FROM holds")) == (10, [{"n": 10}])
    assert query("SELECT stopped FROM batches") == [{"stopped": ""}]  # the cost of running rows is not known yet
    await create_rows(other, batch.number, 1, 20)
    assert api.created == 10


async def test_an_uncertain_row_counts_toward_the_cost_limit_and_a_refused_row_does_not(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(20), key="b", max_cost=Decimal("0.05"), price="0.01/run")
    api.faults.next("create", "422")
    await create_rows(fleet, batch.number, 1, 20)
    assert api.created == 4
    query(
        "UPDATE jobs SET state = 'uncertain', prediction_id = NULL"
        " WHERE seq = (SELECT max(seq) FROM jobs WHERE state <> 'refused')"
    )
    query("UPDATE batch_rows SET problem = 'not known' WHERE key IN (SELECT key FROM jobs WHERE state = 'uncertain')")
    assert "$0.04 are spent and $0.01 set aside" in await until_stopped(fleet, batch)
    assert api.created == 5
    assert Counter(row["state"] for row in query("SELECT state FROM jobs")) == {
        "collected": 4,
        "refused": 1,
        "uncertain": 1,
    }


async def test_if_the_cost_of_a_prediction_is_unknown_the_first_row_runs_alone(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet, other = await member(), await member()
    costs = Script(duration=0.3, output="done", overrides={"metrics": {"predict_time": 10.0}})
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=costs)
    batch = await submitted(fleet, rows(20), key="b", max_cost=Decimal("0.1"), price="0.001/second")
    await asyncio.gather(*(create_rows(each, batch.number, 1, 20) for each in (fleet, other)))
    assert api.created == 1
    assert "$0.10 are spent" in await until_stopped(fleet, batch, other)
    assert api.created == 10


async def test_further_attempts_of_a_row_count_toward_the_cost_limit(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    failing = Script(end="failed", error="boom", duration=0.01, overrides={"metrics": {"predict_time": 10.0}})
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=failing)
    batch = await submitted(fleet, rows(2), retries=9, max_cost=Decimal("0.02"), price="0.001/second")
    await until_stopped(fleet, batch)
    assert api.created == 2


async def test_a_submit_that_dies_at_its_end_does_not_change_the_cost_limit(
    member: Member, submitted: Submitted, query: Query
) -> None:
    def read() -> Iterator[dict[str, Any]]:
        yield from rows(2)
        query("DELETE FROM batches WHERE api = ''")  # as after a process was stopped for a day

    fleet = await member()
    limit: dict[str, Any] = {"key": "b", "max_cost": Decimal(1), "price": "0.01/run"}
    known = "SELECT id, started_at, spent, trips FROM batches LEFT JOIN budgets ON batch = id"
    for submits in range(2):
        before = query(known)
        assert len(before) == submits
        with pytest.raises(JournalError, match="submit them again"):
            await submitted(fleet, read(), **limit)
        assert query(known) == before
        await submitted(fleet, rows(2), **limit)


async def test_a_model_without_a_price_is_refused_with_advice(member: Member, submitted: Submitted) -> None:
    with pytest.raises(JobError, match=r"a limit of cost needs a price: .*--price"):
        await submitted(await member(), rows(1), max_cost=Decimal(1), job="stability-ai/sdxl")


async def test_several_models_with_their_own_prices_share_one_cost_limit(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet, other = await member(), await member()
    api.models["acme/second"] = msgspec.structs.replace(api.models[MODEL], name="acme/second")
    prices = {MODEL: "0.01/run", "acme/second": "0.03/run"}
    batch = await submitted(fleet, rows(30), models=["acme/second"], max_cost=Decimal("0.3"), price=prices)
    await until_stopped(fleet, batch, other)
    made = Counter(prediction.model for prediction in api.predictions)
    assert Decimal("0.27") < made[MODEL] * Decimal("0.01") + made["acme/second"] * Decimal("0.03") <= Decimal("0.3")
    assert query("SELECT spent FROM budgets") == [
        {"spent": str(made[MODEL] * Decimal("0.01") + made["acme/second"] * Decimal("0.03"))}
    ]
