"""The rate limit is the account's: all sessions and calls of a process share it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from replicate_job import AsyncClient, arun, run
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.session import open_session
from replicate_job.settings import Settings
from replicate_job.testing import ScriptedAPI

Connect = Callable[..., AbstractAsyncContextManager[Context]]


@pytest.mark.long
async def test_calls_at_the_same_time_share_one_rate_limit_without_a_429(replicate_api: ScriptedAPI) -> None:
    """Each call opens its own session. The burst of one session alone would exceed what the API accepts."""
    replicate_api.faults.limit(rate=10, burst=10)
    results = await asyncio.gather(*(arun("replicate/hello-world", {"text": str(n)}) for n in range(24)))
    assert {result.status for result in results} == {"succeeded"}
    assert (replicate_api.created, replicate_api.faults.throttled) == (24, 0)


@pytest.mark.long
def test_calls_in_threads_share_one_rate_limit(replicate_api: ScriptedAPI) -> None:
    """Each thread runs its own event loop."""
    replicate_api.faults.limit(rate=10, burst=10)
    threads = [
        threading.Thread(target=run, args=("replicate/hello-world", {"text": str(number)})) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (replicate_api.created, replicate_api.faults.throttled) == (16, 0)


@pytest.mark.long
async def test_calls_one_after_the_other_share_one_rate_limit(replicate_api: ScriptedAPI) -> None:
    replicate_api.faults.limit(rate=10, burst=10)
    for number in range(16):
        await arun("replicate/hello-world", {"text": str(number)})
    assert (replicate_api.created, replicate_api.faults.throttled) == (16, 0)


async def test_a_call_obeys_the_429_of_an_earlier_call(api: ScriptedAPI, connect: Connect) -> None:
    """The 429 counts even if the calls have different journals."""
    async with connect(api, rate=10) as context:
        await context.client.creates.refused(await context.client.take_slot(), 30)
    async with connect(api, rate=10, journal="other.db") as context:
        assert context.client.creates.paused > 25
    async with connect(api, rate=10) as context:
        assert context.client.creates.paused > 25


async def test_the_lowest_rate_of_the_open_sessions_applies(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api, rate=10) as context:
        assert context.client.creates.pace == 9.8
        async with connect(api, rate=1) as slow, connect(api, rate=None):
            assert context.client.creates.pace == slow.client.creates.pace == 0.98
        assert context.client.creates.pace == 9.8


async def test_sessions_of_two_accounts_do_not_share_a_rate_limit(api: ScriptedAPI, connect: Connect) -> None:
    with ScriptedAPI() as other:
        async with connect(api, rate=10) as context, connect(other, rate=2) as second:
            assert (context.client.creates.pace, second.client.creates.pace) == (9.8, 1.96)


async def test_a_call_that_is_cancelled_while_it_waits_leaves_no_task(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api, rate=5) as context:

        async def call(number: int) -> None:
            await run_job(context, Ask(Job("replicate/hello-world", {"text": str(number)})))

        calls = [asyncio.create_task(call(number)) for number in range(20)]
        await asyncio.to_thread(api.wait_until, lambda: api.created >= 3)
        for task in calls[:-1]:
            task.cancel()
        await asyncio.wait(calls)
        assert not calls[-1].cancelled()
        await calls[-1]
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_with_a_journal_that_cannot_be_written_a_call_keeps_to_its_own_rate_limit(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database, and too long to be an empty one" * 100)
    async with connect(api, rate=50, journal="broken.db") as context:
        slots = [await context.client.take_slot() for _ in range(8)]
    assert [slot.number for slot in slots] == list(range(1, 9))


@pytest.mark.long
async def test_calls_leave_no_rows_of_holders_in_the_journal(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    for number in range(20):
        async with connect(api) as context:
            await run_job(context, Ask(Job("replicate/hello-world", {"text": str(number)})))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database:
        assert database.execute("SELECT count(*) FROM holders").fetchone() == (0,)


async def test_a_call_without_a_rate_limit_writes_no_rate_limit_row(
    api: ScriptedAPI, connect: Connect, tmp_path: Path, heard: Any
) -> None:
    local = Settings(None, api.base_url, journal=tmp_path / "journal.db", state=tmp_path / "state", local=True)
    async with open_session(local, heard) as context, connect(api, rate=None) as unlimited:
        for _ in range(20):
            await context.client.take_slot()
            await unlimited.client.take_slot()
    assert not (tmp_path / "journal.db").exists()


@pytest.mark.long
async def test_a_rate_limit_in_the_response_headers_is_obeyed_without_a_429(replicate_api: ScriptedAPI) -> None:
    """The account's limit is lower than the one that the client was given."""
    replicate_api.faults.limit(rate=10, burst=10)
    async with AsyncClient(rate="50/s") as client:
        await client.run("replicate/hello-world", {"text": "first"})
        results = await asyncio.gather(*(client.run("replicate/hello-world", {"text": str(n)}) for n in range(30)))
    assert {result.status for result in results} == {"succeeded"}
    assert (replicate_api.created, replicate_api.faults.throttled) == (31, 0)
