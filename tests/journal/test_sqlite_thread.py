"""One connection, shared transactions, and an error of one line for every fault of the file."""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from replicate_job.errors import JournalError, TooLargeError
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.journal.sqlite_thread import SHARED, SQLiteThread
from replicate_job.wire.target import Target

REQUEST = CreateRequest(Target("model", "a", "b"), "/models/a/b/predictions", b'{"input":{}}')


def insert(key: str) -> str:
    return f"INSERT INTO uploads VALUES ('api', '{key}', 'url', NULL)"  # noqa: S608 - the keys are the test's own


async def count(writer: SQLiteThread) -> int:
    return int(await writer.run(lambda db: db.execute("SELECT count(*) FROM uploads").fetchone()[0]))


async def test_a_thousand_concurrent_writes_share_a_few_transactions(path: Path) -> None:
    writer, transactions = SQLiteThread(path, lambda _: None, every=60), []

    def watch(database: sqlite3.Connection) -> None:
        database.set_trace_callback(lambda line: transactions.append(line) if line.startswith("COMMIT") else None)

    await writer.run(watch)
    await asyncio.gather(*(writer.run(lambda db, n=n: db.execute(insert(f"{n}"))) for n in range(1000)))  # type: ignore[misc]
    assert len(transactions) <= 1000 / SHARED + 10
    assert await count(writer) == 1000
    await writer.close()


async def test_in_a_shared_transaction_only_failed_work_is_undone(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)

    def half(database: sqlite3.Connection) -> None:
        database.execute(insert("half"))
        raise KeyError("half")

    work = [writer.run(lambda db: db.execute(insert("a")).rowcount), writer.run(half)]
    work.append(writer.run(lambda db: db.execute(insert("b")).rowcount))
    first, failed, last = await asyncio.gather(*work, return_exceptions=True)
    assert (first, last) == (1, 1)
    assert isinstance(failed, KeyError)
    assert await count(writer) == 2
    await writer.close()


async def test_a_damaged_row_fails_no_other_work_even_if_a_piece_of_work_fails(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)
    outcomes = await asyncio.gather(
        writer.run(lambda _: 1 // 0),
        writer.run(lambda db: db.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()[0]),
        writer.run(lambda db: db.execute(insert("good")).rowcount),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, str, int]
    assert await count(writer) == 1
    await writer.close()


async def test_a_cancelled_task_does_not_cancel_the_others(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)
    tasks = [asyncio.ensure_future(writer.run(lambda db, n=n: db.execute(insert(str(n))))) for n in range(3)]  # type: ignore[misc]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await count(writer) == 3
    await writer.close()


async def test_a_closed_thread_has_written_everything_and_can_be_closed_again(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)
    task = asyncio.ensure_future(writer.run(lambda db: db.execute(insert("a")).rowcount))
    await asyncio.sleep(0)
    await writer.close()
    await writer.close()
    assert await task == 1
    again = SQLiteThread(path, lambda _: None, every=60)
    assert await count(again) == 1
    await again.close()


async def fail(path: Path) -> str:
    """The error about a journal that cannot be used."""
    async with SQLiteJournal(path, busy_timeout=0.2) as journal, asyncio.timeout(10):
        with pytest.raises(JournalError) as caught:
            await journal.claim("job", "api", Job("a/b"), None)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


def start(program: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


LOCKER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


async def test_the_error_names_a_journal_that_another_process_has_locked(path: Path) -> None:
    async with SQLiteJournal(path, busy_timeout=0.2) as journal:
        await journal.entries()
        with start(LOCKER, path) as process:
            assert process.stdout
            assert process.stdout.readline() == "locked\n"
            with pytest.raises(JournalError, match=r"held by another process \(waited 0.2 s for it\)"):
                await journal.entries()
            process.kill()
        assert await journal.entries() == []


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that any user may enter, with root's rights dropped: root could write anywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        if os.geteuid() == 0:
            os.seteuid(65534)
            try:
                yield folder
            finally:
                os.seteuid(0)
        else:
            yield folder


async def test_the_error_names_a_read_only_journal(public: Path) -> None:
    path = public / "journal.db"
    async with SQLiteJournal(path) as journal:
        await journal.entries()
    path.chmod(0o444)
    assert "is read-only" in await fail(path)
    async with SQLiteJournal(path) as journal:
        assert await journal.entries() == []  # reading still works


async def test_the_error_names_a_journal_in_a_read_only_folder(public: Path) -> None:
    folder = public / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    assert "cannot be used" in await fail(folder / "journal.db")
    assert "cannot be used" in await fail(folder / "deeper" / "journal.db")
    folder.chmod(0o755)


async def test_the_error_names_a_folder_in_place_of_the_journal(tmp_path: Path) -> None:
    assert "cannot be used" in await fail(tmp_path)


async def test_the_error_names_a_file_in_place_of_the_journals_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be used" in await fail(tmp_path / "file" / "journal.db")


async def test_the_error_names_an_impossible_file_name() -> None:
    assert "cannot be used" in await fail(Path("a\0b"))


async def test_the_error_names_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is a text, and long enough to be read as the header of a page" * 9)
    assert "is damaged (file is not a database)" in await fail(tmp_path / "journal.db")


def tear(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


async def test_the_error_names_a_journal_with_a_damaged_page(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        await journal.entries()
    tear(path)
    assert "is damaged" in await fail(path)


async def claim(journal: SQLiteJournal, key: str) -> None:
    """Record the intent to create the job."""
    await journal.claim(key, "api", Job("a/b"), None, request=REQUEST)


async def refuses(journal: SQLiteJournal, key: str) -> None:
    """Check that neither an intent nor a smaller file is written."""
    with pytest.raises(JournalError, match="was removed or replaced while it was open: put it back") as caught:
        await claim(journal, key)
    assert str(journal.path) in str(caught.value)
    with pytest.raises(JournalError, match="was removed or replaced"):
        await journal.prune(4e9)


async def test_no_intent_is_recorded_in_a_journal_that_was_moved_until_it_is_put_back(path: Path) -> None:
    away = path.with_name("away.db")
    async with SQLiteJournal(path) as journal:
        await claim(journal, "first")
        path.rename(away)  # noqa: ASYNC240 - it takes a moment only
        await refuses(journal, "second")
        path.touch()  # noqa: ASYNC240 - as above
        await refuses(journal, "second")
        away.replace(path)
        await claim(journal, "second")
        assert await journal.get("first")
        assert await journal.get("second")


async def test_a_removed_journal_is_not_made_anew_while_it_is_open(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        await claim(journal, "first")
        shutil.rmtree(path.parent)
        await refuses(journal, "second")
        path.parent.write_text("in the way")
        await refuses(journal, "second")
    assert path.parent.read_text() == "in the way"


async def test_a_journal_whose_folder_cannot_be_searched_for_a_while_is_still_the_open_one(public: Path) -> None:
    path = public / "deep" / "journal.db"
    async with SQLiteJournal(path) as journal:
        await claim(journal, "first")
        path.parent.chmod(0)
        with pytest.raises(PermissionError):
            path.stat()
        await claim(journal, "second")
        path.parent.chmod(0o700)
        assert await journal.get("second")


async def test_a_name_that_means_memory_to_sqlite_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with SQLiteJournal(Path(":memory:")) as journal:
        await claim(journal, "first")
    async with SQLiteJournal(Path(":memory:")) as journal:
        assert await journal.get("first")
        await journal.prune(4e9)
    assert (tmp_path / ":memory:").stat().st_size > 0


async def test_a_full_disk_fails_one_write_and_later_writes_work(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)
    size = await writer.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {size}").fetchone())
    with pytest.raises(JournalError, match="no space left for the journal"):
        await writer.run(lambda db: db.execute(insert("x" * 100_000)))
    assert await count(writer) == 0
    await writer.run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    await writer.run(lambda db: db.execute(insert("x" * 100_000)))
    assert await count(writer) == 1
    await writer.close()


async def test_a_journal_that_could_not_be_opened_is_opened_at_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "journal.db"
    (tmp_path / "folder").write_text("in the way")
    async with SQLiteJournal(path) as journal:
        with pytest.raises(JournalError):
            await journal.entries()
        (tmp_path / "folder").unlink()
        assert await journal.entries() == []


WRITES = """
import asyncio, sys
from pathlib import Path
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.sqlite import SQLiteJournal
async def main():
    async with SQLiteJournal(Path(sys.argv[1])) as journal:
        async def write(lane):
            number = 0
            while True:
                await journal.claim(f"{lane}-{number}", "api", Job("a/b", {"n": number}), None)
                print(f"{lane}-{number}", flush=True)
                number += 1
        await asyncio.gather(*(write(lane) for lane in range(8)))
asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 30, 200])
async def test_acknowledged_writes_survive_the_kill_of_their_process(path: Path, lines: int) -> None:
    with start(WRITES, path) as process:
        assert process.stdout
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    acknowledged = {line.strip() for line in told if line.endswith("\n")}
    async with SQLiteJournal(path) as journal:
        assert acknowledged <= {entry.key for entry in await journal.entries()}
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


async def test_the_periodic_work_runs_while_the_thread_is_busy_or_idle_and_not_after_it_is_closed(path: Path) -> None:
    beats: queue.Queue[None] = queue.Queue()
    writer = SQLiteThread(path, lambda _: beats.put(None), every=0.05)
    await writer.run(lambda _: None)
    await asyncio.sleep(0.2)
    assert beats.empty()  # no claim needs it yet
    writer.beats = True
    for _ in range(3):
        beats.get(timeout=20)  # it blocks the event loop
    idle = beats.qsize()

    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def work(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.01)  # so that the next work always waits already

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        while beats.qsize() < idle + 3:
            tasks.create_task(writer.run(work))
            await begun.wait()
            begun.clear()
    await writer.close()
    ended = beats.qsize()
    await asyncio.sleep(0.15)
    assert beats.qsize() == ended


async def test_failed_periodic_work_is_repeated_and_fails_no_other_work(path: Path) -> None:
    beats = 0

    def beat(_: sqlite3.Connection) -> None:
        nonlocal beats
        beats += 1
        raise KeyError("beat")

    writer = SQLiteThread(path, beat, every=0.02)
    writer.beats = True
    async with asyncio.timeout(10):
        while beats < 5:
            assert await writer.run(lambda db: db.execute("SELECT 1").fetchone()[0]) == 1
    await writer.close()


async def test_an_idle_thread_keeps_to_the_interval_of_the_periodic_work(path: Path) -> None:
    beats: queue.Queue[float] = queue.Queue()
    writer = SQLiteThread(path, lambda _: beats.put(time.monotonic()), every=0.1)
    writer.beats = True
    times = [time.monotonic()]
    await writer.run(lambda _: None)
    times += [await asyncio.to_thread(beats.get, timeout=20) for _ in range(5)]
    await writer.close()
    assert all(later - earlier >= 0.1 for earlier, later in pairwise(times))


def commits(database: sqlite3.Connection) -> queue.Queue[str]:
    """Records the sync mode of each later commit: ``FULL`` syncs it and all earlier ones, ``NORMAL`` does not."""
    seen, mode = queue.Queue[str](), "NORMAL"

    def note(line: str) -> None:
        nonlocal mode
        if line.startswith("PRAGMA synchronous = "):
            mode = line.rpartition(" ")[2]
        elif line == "COMMIT":
            seen.put(mode)

    database.set_trace_callback(note)
    return seen


async def test_work_with_sync_soon_is_synced_by_the_next_periodic_work(path: Path) -> None:
    writer = SQLiteThread(path, lambda db: db.execute(insert("beat")).close(), every=600)
    writer.beats = True
    seen = await writer.run(commits)
    await writer.run(lambda db: db.execute(insert("now")), sync="now")
    await writer.run(lambda db: db.execute(insert("soon")), sync="soon")
    await writer.run(lambda db: db.execute(insert("some time")))
    first = [seen.get_nowait() for _ in range(seen.qsize())]
    assert first == ["NORMAL", "FULL", "NORMAL", "NORMAL"]
    assert await asyncio.to_thread(seen.get, timeout=20) == "FULL"
    await writer.close()
    assert seen.get_nowait() == "NORMAL"  # nothing is left to sync


async def test_work_with_sync_soon_is_synced_with_other_synced_work(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=600)
    writer.beats = True
    seen = await writer.run(commits)
    await writer.run(lambda db: db.execute(insert("soon")), sync="soon")
    await writer.run(lambda db: db.execute(insert("now")), sync="now")
    await writer.close()
    assert [seen.get_nowait() for _ in range(seen.qsize())] == ["NORMAL", "NORMAL", "FULL", "NORMAL"]


async def test_work_with_sync_soon_is_synced_when_the_thread_is_closed(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=600, closing=lambda db: db.execute(insert("end")).close())
    seen = await writer.run(commits)
    await writer.run(lambda db: db.execute(insert("soon")), sync="soon")
    await writer.close()
    assert [seen.get_nowait() for _ in range(seen.qsize())] == ["NORMAL", "NORMAL", "FULL"]


async def test_a_value_too_large_for_sqlite_fails_only_its_own_work(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)
    await writer.run(lambda db: db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000))
    outcomes = await asyncio.gather(
        writer.run(lambda db: db.execute(insert("a")).rowcount),
        writer.run(lambda db: (db.execute(insert("b")), db.execute("SELECT ?", ("x" * 20_000,)))),
        writer.run(lambda db: db.execute(insert("c")).rowcount),
        writer.run(lambda db: db.execute("SELECT ?", (2**64,))),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [int, TooLargeError, int, TooLargeError]
    assert await count(writer) == 2
    await writer.close()


async def test_a_close_that_is_cancelled_still_waits_for_the_work(path: Path) -> None:
    writer, release = SQLiteThread(path, lambda _: None, every=60), threading.Event()

    def work(database: sqlite3.Connection) -> None:
        release.wait(10)
        database.execute(insert("slow"))

    await count(writer)
    inserted = asyncio.create_task(writer.run(work))
    await asyncio.sleep(0)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    assert not closing.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await inserted
    assert await count(writer) == 1  # a closed thread starts again
    await writer.close()


async def test_several_tasks_may_close_the_thread_at_the_same_time(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)
    for number in range(3):
        await writer.run(lambda db, number=number: db.execute(insert(f"{number}")))  # type: ignore[misc]
        await asyncio.gather(*(writer.close() for _ in range(3)))
    assert await count(writer) == 3
    await writer.close()


async def test_a_fork_closes_nothing_and_does_not_wait(path: Path) -> None:
    writer = SQLiteThread(path, lambda _: None, every=60)
    await count(writer)
    if not (child := os.fork()):
        with suppress(BaseException):
            writer.close().send(None)  # a coroutine that ends without a wait raises StopIteration
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]) == 0
    assert await count(writer) == 0
    await writer.close()
