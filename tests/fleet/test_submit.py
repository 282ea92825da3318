"""A batch that is submitted: what is in the journal then, and in the queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.errors import JobError
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.parts import Fleet, join, open_tables
from replicate_job.journal.postgres_fleet import CHUNK, MANY, FleetBatch
from replicate_job.session import open_session
from replicate_job.settings import Settings
from replicate_job.testing import ScriptedAPI

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
TASKS = "SELECT args FROM procrastinate_jobs ORDER BY id"


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(number)]


async def test_rows_and_their_tasks_are_there_together(member: Member, submitted: Submitted, query: Query) -> None:
    batch = await submitted(await member(), rows(45), key="b")
    assert [row["args"] for row in query(TASKS)] == [
        {"batch": batch.number, "first": first, "last": last} for first, last in [(1, 20), (21, 40), (41, 45)]
    ]
    assert query("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM batch_rows") == [{"n": 45, "keys": 45}]


async def test_the_planner_knows_of_many_new_rows_at_once(member: Member, submitted: Submitted, query: Query) -> None:
    """Without statistics, the comparison of a million rows with the queue takes minutes."""
    await submitted(await member(), rows(MANY), key="b")
    known = query("SELECT reltuples FROM pg_class WHERE relname IN ('batch_rows', 'procrastinate_jobs') ORDER BY 1")
    assert [row["reltuples"] for row in known] == [MANY / CHUNK, MANY]


async def test_a_row_that_does_not_fit_has_its_problem_and_no_task(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    batch = await submitted(fleet, [{"prompt": "x", "seed": "one"}], key="b")
    (row,) = await fleet.tables.rows(batch.number, 1, 1)
    assert "seed" in row.problem
    assert query(TASKS) == []


async def test_the_same_batch_again_keeps_what_was_done(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(3), key="b")
    await create_rows(fleet, batch.number, 1, 3)
    again = await submitted(fleet, rows(5), key="b")
    assert again.number == batch.number
    await create_rows(fleet, batch.number, 1, 5)
    assert len(api.predictions) == 5
    assert [row["args"]["last"] for row in query(TASKS)] == [5]  # the task of before waits still, with all rows


async def test_a_stopped_batch_goes_on_when_it_is_submitted_again(member: Member, submitted: Submitted) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(1), key="b")
    await fleet.tables.stop(batch.number, "no credit")
    assert (await submitted(fleet, rows(1), key="b")).stopped == ""


async def test_names_that_are_there_twice_with_other_inputs_are_told(member: Member, submitted: Submitted) -> None:
    fleet = await member()
    twice = [{"prompt": "a", "name": "x"}, {"prompt": "b", "name": "x"}, {"prompt": "a", "name": "x"}]
    batch = await submitted(fleet, twice, key="b", id="name")
    found = await fleet.tables.rows(batch.number, 1, 3)
    assert ["another input" in row.problem for row in found] == [False, True, False]
    assert found[0].key == found[2].key == "b/x"


async def test_local_files_are_refused(member: Member, submitted: Submitted, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    with pytest.raises(JobError, match="line 1 names a file of this machine"):
        await submitted(await member(), [{"prompt": tmp_path / "a.png"}])


async def test_no_rows_are_refused(member: Member, submitted: Submitted) -> None:
    with pytest.raises(JobError, match="there are no rows"):
        await submitted(await member(), [])


async def test_a_fleet_has_one_account(member: Member, submitted: Submitted) -> None:
    fleet = await member()
    await join(fleet.context, fleet.tables)
    await fleet.tables.join(fleet.api, "another")  # nothing is to be done: it may change
    batch = await submitted(fleet, rows(1))
    with pytest.raises(JobError, match="belong to the account another"):
        await join(fleet.context, fleet.tables)
    await fleet.tables.cancel(batch.number)
    await fleet.tables.defer_lost(fleet.api)  # it notes that the batch is over
    await join(fleet.context, fleet.tables)


async def test_a_journal_in_a_file_has_no_fleet(settings: Settings, tmp_path: Path, heard: Any) -> None:
    alone = msgspec.structs.replace(settings, journal=tmp_path / "journal.db")
    async with open_session(alone, heard) as context:
        with pytest.raises(JobError, match="a fleet has its journal in PostgreSQL"):
            open_tables(context)
