"""Notifications of other processes' writes, and polling if no notifications arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.fleet.conftest import MODEL
from tests.fleet.test_watcher import until, watching
from tests.line import Line

from replicate_job.database import DatabaseURL
from replicate_job.fleet.parts import Fleet
from replicate_job.flow import claim as claims
from replicate_job.flow import wait
from replicate_job.flow.claim import release, take
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.journal import postgres_news
from replicate_job.testing import Script, ScriptedAPI
from replicate_job.wire.prediction import Prediction

if TYPE_CHECKING:
    from tests.postgres import Postgres

Member = Callable[..., Awaitable[Fleet]]
Query = Callable[[str], list[dict[str, Any]]]
JOB = Job(MODEL, {"prompt": "x"})
LISTENING = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


async def listening(fleet: Fleet) -> None:
    with fleet.context.journal.news("anything") as news:
        assert news
        await until(lambda: news.is_live)


async def test_a_process_that_waits_for_a_key_claims_the_job_as_soon_as_it_is_released(
    member: Member, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "TRUSTED", 60.0)  # without news it would wait for the end of the lease
    one, other = (await member()).context, await member()
    await listening(other)
    held = await take(one, "k", JOB, None, within=None)
    waiting = [asyncio.create_task(take(other.context, "k", JOB, None, within=None)) for _ in range(3)]
    await asyncio.sleep(0.5)
    async with asyncio.timeout(5):
        await release(one, held)
        for _ in range(3):
            done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            waiting = [*pending]
            for task in done:
                await release(other.context, task.result())
    assert query(LISTENING) == [{"n": 1}], "one connection a process"


async def test_a_notification_is_sent_for_each_key_that_is_released_in_one_transaction(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "TRUSTED", 60.0)
    one, other = (await member()).context, await member()
    await listening(other)
    keys = [f"k{number}" for number in range(6)]
    held = await asyncio.gather(*(take(one, key, JOB, None, within=None) for key in keys))
    waiting = [asyncio.create_task(take(other.context, key, JOB, None, within=None)) for key in keys]
    await asyncio.sleep(0.5)
    ended, rest = held[:3], held[3:]
    predictions = [Prediction(f"p{number}", "succeeded", output="done") for number in range(len(ended))]
    async with asyncio.timeout(5):
        await asyncio.gather(
            *(one.journal.created(*pair, collected=True) for pair in zip(ended, predictions, strict=True)),
            *(release(one, claim) for claim in rest),
        )
        taken = await asyncio.gather(*waiting)
    assert [claim.entry.state for claim in taken] == ["collected"] * 3 + ["claimed"] * 3


@pytest.mark.parametrize("emit", [None, print], ids=["waits", "follows a text that has no stream"])
async def test_a_process_learns_the_end_of_its_prediction_from_the_watcher_without_a_poll(
    member: Member,
    query: Query,
    api: ScriptedAPI,
    monkeypatch: pytest.MonkeyPatch,
    emit: Callable[[str], None] | None,
) -> None:
    monkeypatch.setattr(wait, "SOON", ())
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1.5, output="done"))
    watcher, runner = await member(), await member()
    await listening(runner)
    async with watching(watcher):
        await until(lambda: query("SELECT * FROM roles WHERE role = 'watcher'"))
        async with asyncio.timeout(10):  # without news it would look after 15 s
            asks = [Ask(Job(MODEL, {"prompt": str(number)}), emit=emit, blocking_wait=0) for number in range(5)]
            results = await asyncio.gather(*(run_job(runner.context, ask) for ask in asks))
    assert [result.output for result in results] == ["done"] * 5
    assert query("SELECT DISTINCT state, holder FROM jobs") == [{"state": "collected", "holder": None}]
    assert query("SELECT * FROM procrastinate_jobs") == []
    assert api.count("get") <= 2, "the watcher's own, for the last two"


async def test_a_process_accepts_the_end_from_the_watcher_even_if_its_own_poll_failed(
    member: Member, query: Query, api: ScriptedAPI, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "SOON", (0.1,))
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1.5, output="done"))
    watcher, runner = await member(), await member()
    await listening(runner)
    async with watching(watcher):
        await until(lambda: query("SELECT * FROM roles WHERE role = 'watcher'"))
        api.faults.next("get", *["503"] * 5)
        context = msgspec.structs.replace(runner.context, reporter=heard)
        async with asyncio.timeout(10):
            asks = [Ask(Job(MODEL, {"prompt": str(number)}), blocking_wait=0) for number in range(5)]
            results = await asyncio.gather(*(run_job(context, ask) for ask in asks))
    assert [result.output for result in results] == ["done"] * 5
    assert [line for line in heard.notes if "asking again" in line], "each looked once, in vain"
    assert heard.warnings == []


async def test_a_process_polls_if_there_is_no_watcher(member: Member, api: ScriptedAPI) -> None:
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=0.3, output="done"))
    runner = await member()
    await listening(runner)
    async with asyncio.timeout(10):
        assert (await run_job(runner.context, Ask(JOB, blocking_wait=0))).output == "done"
    assert api.count("get") >= 1


async def test_a_broken_notification_connection_is_reopened_and_wakes_the_waiters(
    member: Member, postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_news, "AGAIN", 0.1)
    one, other = (await member()).context, await member()
    await listening(other)
    held = await take(one, "k", JOB, None, within=None)
    waiting = asyncio.create_task(take(other.context, "k", JOB, None, within=None))
    with other.context.journal.news("anything") as news:
        assert news
        postgres.cut(database)
        async with asyncio.timeout(10):
            await news.wait()  # every waiter looks once, as it may have missed something
        await until(lambda: news.is_live)
    await release(one, held)
    async with asyncio.timeout(10):
        await release(other.context, await waiting)


async def test_waiters_poll_behind_a_connection_pool_that_loses_notifications(
    member: Member, postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_news, "PROBED", 0.2)
    with Line(postgres, database, loses=True) as pool:
        one, joined = (await member()).context, await member(journal=DatabaseURL(pool.url))
        other = joined.context
        held = await take(one, "k", JOB, None, within=None)
        waiting = asyncio.create_task(take(other, "k", JOB, None, within=None))
        await until(lambda: pool.lost)
        await release(one, held)
        async with asyncio.timeout(10):
            await release(other, await waiting)
            assert (await run_job(other, Ask(JOB, blocking_wait=0))).output == "done"
        with other.journal.news("k") as news:
            assert news
            assert not news.is_live
