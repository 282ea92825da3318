"""The rows and tasks that a submitted batch has in the journal and in the queue."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.batches.reader import AHEAD
from replicate_job.errors import AuthenticationError, JobError, JournalError
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.parts import Fleet, join, open_tables
from replicate_job.fleet.worker import work
from replicate_job.journal.entry import BatchEntry
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.journal.postgres_queue import CHUNK, FEW
from replicate_job.journal.postgres_submission import HELD, LEFT, MANY, BatchFacts, NewRow
from replicate_job.session import open_session
from replicate_job.settings import Settings
from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.conftest import Heard

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
TASKS = "SELECT args FROM procrastinate_jobs ORDER BY id"


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(number)]


async def test_a_submit_writes_its_rows_and_a_task_for_each_chunk_of_them(
    member: Member, submitted: Submitted, query: Query
) -> None:
    batch = await submitted(await member(), rows(45), key="b")
    assert [row["args"] for row in query(TASKS)] == [
        {"batch": batch.number, "first": first, "last": last} for first, last in [(1, 20), (21, 40), (41, 45)]
    ]
    assert query("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM batch_rows") == [{"n": 45, "keys": 45}]


async def test_statistics_are_updated_after_many_new_rows(member: Member, submitted: Submitted, query: Query) -> None:
    """Without statistics, comparing a million rows with the queue takes minutes."""
    await submitted(await member(), rows(MANY), key="b")
    known = query("SELECT reltuples FROM pg_class WHERE relname IN ('batch_rows', 'procrastinate_jobs') ORDER BY 1")
    assert [row["reltuples"] for row in known] == [MANY / CHUNK, MANY]


@pytest.mark.parametrize(
    ("options", "size"), [({}, CHUNK), ({"retries": 1}, FEW), ({"max_cost": 1000, "price": "0.01/run"}, CHUNK)]
)
async def test_rows_are_written_while_later_rows_are_read(
    member: Member, submitted: Submitted, query: Query, options: dict[str, Any], size: int
) -> None:
    """So a million rows are never in memory at the same time."""
    number, held = 4 * HELD, list[int]()

    def read() -> Iterator[dict[str, Any]]:
        for line in range(number):
            if line % HELD == 0:
                held.append(line - query("SELECT count(*) AS n FROM batch_rows")[0]["n"])
            yield {"prompt": f"row {line}"}

    await submitted(await member(), read(), key="b", **options)
    assert max(held) <= 2 * HELD + 3 * AHEAD
    assert query("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM batch_rows") == [{"n": number, "keys": number}]
    assert len(query(TASKS)) == number / size


async def test_a_batch_exists_only_after_all_its_rows_are_written(
    member: Member, submitted: Submitted, query: Query
) -> None:
    seen: list[Any] = []

    def read() -> Iterator[dict[str, Any]]:
        yield from rows(3 * HELD)
        while not query("SELECT 1 AS n FROM batch_rows LIMIT 1"):
            time.sleep(0.01)
        seen.append((query(TASKS), query("SELECT id FROM batches WHERE id = 'b' OR job IS NOT NULL")))

    fleet = await member()
    await submitted(fleet, read(), key="b")
    assert seen == [([], [])]
    assert [batch.id for batch in await fleet.context.journal.batches()] == ["b"]


async def test_rows_that_raise_while_they_are_read_leave_no_batch(
    member: Member, submitted: Submitted, query: Query
) -> None:
    def read() -> Iterator[dict[str, Any]]:
        yield from rows(3 * HELD)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await submitted(await member(), read(), key="b")
    for table in ("batches", "batch_rows", "procrastinate_jobs"):
        assert query(f"SELECT * FROM {table}") == []  # noqa: S608 - the names are the test's own


async def test_the_draft_of_a_killed_submit_is_deleted_by_a_later_one(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    dead, alive = fleet.tables.submission(), fleet.tables.submission()
    for submission in (dead, alive):
        await submission.__aenter__()
        await submission.add([NewRow(line, f"b/{line}", b"{}") for line in range(HELD)])
        await submission.add([NewRow(line, f"b/{line}", b"{}") for line in range(HELD, 2 * HELD)])
    oldest = "number = (SELECT min(number) FROM batches)"
    query(f"UPDATE batches SET started_at = started_at - {LEFT} WHERE {oldest}")  # noqa: S608 - our own columns
    assert await fleet.context.journal.batches() == []
    await submitted(fleet, rows(1), key="c")
    counted = query("SELECT id LIKE 'draft-%' AS draft, count(*) AS n FROM batches GROUP BY 1 ORDER BY 1")
    assert counted == [{"draft": False, "n": 1}, {"draft": True, "n": 1}]
    assert query("SELECT count(*) AS n FROM batch_rows")[0]["n"] >= HELD
    with pytest.raises(JournalError, match="submit them again"):
        await dead.finish(BatchFacts(BatchEntry("b", fleet.api, "", "", 0), b"{}", None, None, (), b"{}"))
    for submission in (dead, alive):
        await submission.__aexit__()
    assert query("SELECT id FROM batches") == [{"id": "c"}]


async def test_an_invalid_row_has_a_problem_and_no_task(member: Member, submitted: Submitted, query: Query) -> None:
    fleet = await member()
    batch = await submitted(fleet, [{"prompt": "x", "seed": "one"}], key="b")
    (row,) = await fleet.tables.rows(batch.number, 1, 1)
    assert "seed" in row.problem
    assert query(TASKS) == []


async def test_submitting_a_batch_again_keeps_its_finished_jobs(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(3), key="b")
    await create_rows(fleet, batch.number, 1, 3)
    again = await submitted(fleet, rows(5), key="b")
    assert again.number == batch.number
    await create_rows(fleet, batch.number, 1, 5)
    assert len(api.predictions) == 5
    assert [row["args"]["last"] for row in query(TASKS)] == [5]  # the earlier task still waits, now with all rows


async def test_a_stopped_batch_continues_when_it_is_submitted_again(member: Member, submitted: Submitted) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(1), key="b")
    await fleet.tables.stop(batch.number, "no credit")
    assert (await submitted(fleet, rows(1), key="b")).stopped == ""


async def test_a_row_name_that_is_used_twice_with_different_inputs_raises_an_error(
    member: Member, submitted: Submitted
) -> None:
    fleet = await member()
    twice = [{"prompt": "a", "name": "x"}, {"prompt": "b", "name": "x"}, {"prompt": "a", "name": "x"}]
    batch = await submitted(fleet, twice, key="b", id="name")
    found = await fleet.tables.rows(batch.number, 1, 3)
    assert ["another input" in row.problem for row in found] == [False, True, False]
    assert found[0].key == found[2].key == "b/x"


async def test_local_files_are_refused_without_a_place_for_their_copies(
    member: Member, submitted: Submitted, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    with pytest.raises(JobError, match="line 1 names a file of this machine"):
        await submitted(await member(), [{"prompt": tmp_path / "a.png"}])


async def test_a_submit_without_rows_is_refused(member: Member, submitted: Submitted) -> None:
    with pytest.raises(JobError, match="there are no rows"):
        await submitted(await member(), [])


async def test_a_fleet_with_an_unfinished_batch_refuses_another_account(member: Member, submitted: Submitted) -> None:
    fleet = await member()
    await join(fleet.context, fleet.tables)
    await fleet.tables.join(fleet.api, "another")  # without an unfinished batch the account may change
    batch = await submitted(fleet, rows(1))
    with pytest.raises(JobError, match="belong to the account another"):
        await join(fleet.context, fleet.tables)
    await fleet.tables.cancel(batch.number)
    await fleet.tables.defer_lost(fleet.api)  # this records that the batch is over
    await join(fleet.context, fleet.tables)


async def test_a_worker_of_another_account_sends_no_request_while_the_api_does_not_tell_the_account(
    member: Member, submitted: Submitted, api: ScriptedAPI, heard: Heard
) -> None:
    fleet = await member()
    await fleet.tables.join(fleet.api, "another")
    await submitted(fleet, rows(1))
    api.faults.next("other", "503", "drop", "429(body=1)")
    with pytest.raises(JobError, match="belong to the account another"):
        await work(fleet.context)
    assert api.predictions == []
    assert len([line for line in heard.warnings if "no work begins" in line]) == 1


async def test_a_worker_whose_token_the_api_does_not_know_ends_with_an_error(
    member: Member, submitted: Submitted
) -> None:
    await submitted(await member(), rows(1))
    stranger = await member(token="r8_unknown")  # noqa: S106 - opens nothing
    with pytest.raises(AuthenticationError):
        await work(stranger.context)


async def test_a_fleet_is_refused_with_a_journal_in_a_file(settings: Settings, tmp_path: Path, heard: Any) -> None:
    alone = msgspec.structs.replace(settings, journal=tmp_path / "journal.db")
    async with open_session(alone, heard) as context:
        with pytest.raises(JobError, match="a fleet has its journal in PostgreSQL"):
            open_tables(context)


async def test_submitting_warns_of_an_output_folder_that_other_machines_may_lack(
    member: Member, submitted: Submitted, heard: Heard, tmp_path: Path
) -> None:
    fleet, here, elsewhere = await member(), await member(), await member()
    told = (
        f"outputs are kept in {tmp_path / 'out'}: workers on other machines need that folder too, or name a bucket "
        "with --save s3://BUCKET/FOLDER (in Python save_to=)"
    )

    async def warnings() -> list[str]:
        heard.warnings.clear()
        await submitted(fleet, rows(1), key="b", save_to=f"{tmp_path}/out/{{line}}")
        return heard.warnings

    assert await warnings() == [told]
    await here.tables.seen(fleet.api, socket.gethostname(), 1, 1)
    assert await warnings() == []
    await elsewhere.tables.seen(fleet.api, "another-machine", 1, 1)
    assert await warnings() == [told]
    await submitted(fleet, rows(1), key="unsaved")
    assert heard.warnings == [told]


async def test_a_batch_whose_rows_have_run_under_other_names_is_not_submitted(
    member: Member, submitted: Submitted, query: Query
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(2), key="b")
    await create_rows(fleet, batch.number, 1, 2)
    written = query("SELECT key FROM batch_rows ORDER BY key")
    with pytest.raises(JobError, match="by their lines and not by a column: all would be paid for again"):
        await submitted(fleet, rows(2), key="b", id="prompt")
    assert query("SELECT key FROM batch_rows ORDER BY key") == written
