"""Processes that share a journal share the account's rate limit."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

HELLO = "replicate/hello-world"
WORKERS, CALLS = 8, 3
PREFORK = f"""
import asyncio, os
from replicate_job import arun

async def work():
    await asyncio.gather(*(arun("{HELLO}", {{"text": str(number)}}) for number in range({CALLS})))

for _ in range({WORKERS}):
    if not os.fork():
        asyncio.run(work())
        os._exit(0)
for _ in range({WORKERS}):
    assert os.wait()[1] == 0
"""


def test_prefork_workers_share_one_rate_limit(api: ScriptedAPI, command: Command) -> None:
    """All create requests together are more than twice the burst that the API accepts."""
    api.faults.limit(rate=10, burst=10)
    outcome = command.execute([sys.executable, "-W", "error", "-c", PREFORK]).end()
    assert (outcome.code, outcome.err) == (0, "")
    assert (api.created, api.faults.throttled) == (WORKERS * CALLS, 0)


def test_a_command_obeys_a_429_that_another_command_received(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("create", "429(body=3)")
    first = command.start("run", HELLO, "text=1")
    api.wait_until(lambda: creates(api))
    assert command("run", HELLO, "text=2").code == 0
    assert first.end().code == 0
    refused, *others = creates(api)
    assert len(others) == 2
    assert all(moment >= refused + 2.9 for moment in others)


def creates(api: ScriptedAPI) -> list[float]:
    """When each create request came."""
    return [request.time for request in api.requests if request.operation == "create"]


def test_runs_share_one_rate_limit_row_for_the_create_requests_of_an_account(
    api: ScriptedAPI, command: Command
) -> None:
    for number in range(3):
        assert command("run", HELLO, f"text={number}").code == 0
    with closing(sqlite3.connect(command.journal)) as database:
        rows = database.execute("SELECT api, state FROM rates WHERE kind = 'create'").fetchall()
    assert [row[0] for row in rows] == [f"{api.base_url}/v1"]
    assert msgspec.json.decode(rows[0][1])["state"]["number"] == 3


def test_a_command_that_creates_no_prediction_makes_no_journal(command: Command) -> None:
    assert command("schema", HELLO).code == 0
    assert not command.journal.exists()
