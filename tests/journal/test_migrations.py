from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from replicate_job.clock import Moment
from replicate_job.errors import JournalError, KeyInUseError
from replicate_job.job import Job
from replicate_job.journal.migrations import MIGRATIONS, migrate
from replicate_job.journal.sqlite import SQLiteJournal


def version(path: Path) -> int:
    database = sqlite3.connect(path)
    found = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    return int(found)


async def test_a_migrated_journal_has_the_newest_tables_and_keeps_its_rows(path: Path) -> None:
    for _ in range(2):
        async with SQLiteJournal(path) as journal:
            await journal.entries()
        assert version(path) == len(MIGRATIONS)


async def test_the_journal_of_a_newer_release_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    async with SQLiteJournal(path) as journal:
        with pytest.raises(JournalError, match="newer release of replicate-job: update this one"):
            await journal.entries()
    assert version(path) == len(MIGRATIONS) + 1


async def test_the_database_of_another_program_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE bookmarks (url)")
    database.close()
    async with SQLiteJournal(path) as journal:
        with pytest.raises(JournalError, match="a database of something else: name another file"):
            await journal.entries()
    database = sqlite3.connect(path)
    assert [row[0] for row in database.execute("SELECT name FROM sqlite_schema")] == ["bookmarks"]
    database.close()


def test_a_journal_that_another_process_creates_at_the_same_time_is_accepted(tmp_path: Path) -> None:
    """The other process's tables appear just after this one has read the version."""
    path = str(tmp_path / "journal.db")

    class Slow(sqlite3.Connection):
        raced = False

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            rows = super().execute(sql, *values)
            if not Slow.raced and "user_version" in sql:
                Slow.raced = True
                found = rows.fetchall()
                other = sqlite3.connect(path, isolation_level=None)
                migrate(other, path)
                other.close()
                return super().execute(f"SELECT {found[0][0]}")
            return rows

    database = sqlite3.connect(path, isolation_level=None, factory=Slow)
    migrate(database, path)
    database.close()
    assert Slow.raced
    assert version(Path(path)) == len(MIGRATIONS)


OPENS = """
import asyncio, sys
from pathlib import Path
from replicate_job.job import Job
from replicate_job.journal.sqlite import SQLiteJournal
async def main():
    sys.stdin.readline()
    async with SQLiteJournal(Path(sys.argv[1])) as journal:
        await journal.claim(sys.argv[2], "api", Job("a/b"), None)
asyncio.run(main())
"""


@pytest.mark.long
async def test_several_processes_can_open_a_new_journal_at_the_same_time(path: Path) -> None:
    pipes = {"stdin": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", OPENS, str(path), f"job-{number}", **pipes)  # type: ignore[arg-type]
        for number in range(6)
    ]
    said = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [error.decode()[-300:] for _, error in said] == [""] * 6
    async with SQLiteJournal(path) as journal:
        assert {entry.key for entry in await journal.entries()} == {f"job-{number}" for number in range(6)}


OLD_ROWS = {
    "finished": ("collected", "p1", '{"id":"p1","status":"succeeded"}', "collected"),
    "without an id": ("collected", None, None, "uncertain"),
    "without an end": ("collected", "p2", '{"id":"p2","status":"processing"}', "created"),
    "ended without an end": ("ended", "p3", None, "created"),
    "damaged": ("ended", "p4", "{", "created"),
    "sent": ("intended", None, None, "intended"),
}


async def test_the_prediction_of_an_old_row_that_lacks_data_is_looked_up_and_not_created_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in MIGRATIONS[0].split(";"):
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
        job = '{"model":"a/b"}'
        for key, (state, prediction_id, prediction, _) in OLD_ROWS.items():
            values = (key, job, state, prediction_id, prediction)
            database.execute(
                "INSERT INTO jobs (key, api, job, state, claimed_at, first_sent, last_sent, prediction_id, prediction)"
                " VALUES (?, 'api', ?, ?, 1, 2, 3, ?, ?)",
                values,
            )
        migrate(database, str(path))
        states = dict(database.execute("SELECT key, state FROM jobs").fetchall())
    assert states == {key: expected for key, (*_, expected) in OLD_ROWS.items()}
    async with SQLiteJournal(path) as journal:
        entry = await journal.get("sent")
        assert entry
        assert (entry.first_sent, entry.last_sent, entry.token) == (Moment(2.0), Moment(3.0), None)
        await journal.claim("sent", "api", Job("a/b"), None)


async def test_the_key_of_an_old_pruned_job_still_belongs_to_the_same_job(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in MIGRATIONS[0].split(";"):
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
        ended = '{"id":"p1","status":"succeeded"}'
        database.execute(
            "INSERT INTO jobs (key, api, job, state, claimed_at, prediction_id, prediction)"
            """ VALUES ('old', 'api', '{"model":"a/b","input_data":{"prompt":"hi"}}', 'collected', 1, 'p1', ?)""",
            (ended,),
        )
    async with SQLiteJournal(path) as journal:
        assert (await journal.prune(10.0)).jobs == 1
        claim = await journal.claim("old", "api", Job("a/b", {"prompt": "hi"}), None)
        assert claim.entry.prediction_id == "p1"
        with pytest.raises(KeyInUseError):
            await journal.claim("old", "api", Job("a/b", {"prompt": "ho"}), None)
