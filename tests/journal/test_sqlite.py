"""Rules for a journal in a file, whose processes are all on one machine."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicate_job.clock import Moment
from replicate_job.errors import JobHeldError, JournalError
from replicate_job.job import Job
from replicate_job.journal.entry import LONGEST_REQUEST, Claim, CreateRequest
from replicate_job.journal.lease import Process
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

API = "https://api.example.com/v1"

JOB = Job("acme/model", {"prompt": "x"})

REQUEST = CreateRequest(Target("model", "acme", "model"), "/models/acme/model/predictions", b'{"input":{"prompt":"x"}}')

SENT = Moment(1_000_000.0, "this boot", 1_000_000.0)


async def claim(journal: SQLiteJournal, key: str = "job", job: Job = JOB) -> Claim:
    return await journal.claim(key, API, job, "/out")


async def intended(journal: SQLiteJournal, key: str, request: CreateRequest = REQUEST) -> Claim:
    return await journal.intend(await claim(journal, key), request, SENT)


def start(program: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


HOLDER = """
import asyncio, sys
from pathlib import Path
from replicate_job.job import Job
from replicate_job.journal.sqlite import SQLiteJournal
async def main():
    journal = SQLiteJournal(Path(sys.argv[1]))
    await journal.claim("job", "https://api.example.com/v1", Job("acme/model", {"prompt": "x"}), "/out")
    print("held", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""


async def test_a_live_process_keeps_its_claim_and_a_dead_one_loses_it(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        await journal.entries()
        with start(HOLDER, path) as process:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            with pytest.raises(JobHeldError, match=rf"run by process {process.pid} on {socket.gethostname()}"):
                await claim(journal)
            process.kill()
        await claim(journal)


_OUTCOMES = st.sampled_from(["answered", "made, not answered", "not made", "throttled"])


class _Account:
    """The existing predictions, oldest first."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def make(self) -> str:
        self.ids.append(f"p{len(self.ids)}")
        return self.ids[-1]


async def _life(
    journal: SQLiteJournal, key: str, account: _Account, outcome: Callable[[], str]
) -> AsyncGenerator[None, None]:
    """One job as the flow drives it. It yields wherever another job may run in between."""
    held = await claim(journal, key)
    while True:
        yield
        if (await journal.intend(held, REQUEST, SENT)).entry.prediction_id:
            return
        yield
        what = outcome()
        if what == "throttled":
            await journal.unsent(held)
            continue
        made = account.make() if what != "not made" else ""
        yield
        if what == "answered" and await journal.created(held, Prediction(made, "starting")):
            return
        yield
        adoption = await journal.adopt(held, account.ids)
        assert not adoption.unclear  # all these predictions belong to these jobs, so there is no doubt
        if adoption.prediction_id:
            return


@pytest.mark.long
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 6), st.lists(_OUTCOMES, max_size=20), st.lists(st.integers(0, 5), max_size=120))
def test_any_number_of_identical_jobs_make_exactly_one_prediction_each(
    count: int, outcomes: list[str], turns: list[int]
) -> None:
    account, left, order = _Account(), list(outcomes), list(turns)

    async def drive(path: Path) -> list[str | None]:
        async with SQLiteJournal(path) as journal:
            keys = [f"job-{number}" for number in range(count)]
            lives = [_life(journal, key, account, lambda: left.pop() if left else "answered") for key in keys]
            while lives:
                life = lives[(order.pop() if order else 0) % len(lives)]
                try:
                    await anext(life)
                except StopAsyncIteration:
                    lives.remove(life)
            return [entry.prediction_id for entry in await journal.entries()]

    with tempfile.TemporaryDirectory() as folder:
        ids = asyncio.run(drive(Path(folder) / "journal.db"))
    assert sorted(map(str, ids)) == sorted(account.ids)


MANY = """
import asyncio, random, resource, sys
from pathlib import Path
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

def claim(journal, number):
    request = CreateRequest(
        Target("model", "acme", "model"), "/models/acme/model/predictions", b'{"input":{"prompt":"%d"}}' % number
    )
    job = Job("acme/model", {"prompt": str(number)})
    return journal.claim(random.randbytes(8).hex(), "https://api.example.com/v1", job, None, request=request)

async def claims(journal, numbers):
    return await asyncio.gather(*(claim(journal, number) for number in numbers))

async def record(journal, claims, output):
    ids = [random.randbytes(8).hex() for _ in claims]
    writes = (journal.created(each, Prediction(id, "starting", output=output)) for each, id in zip(claims, ids))
    assert await asyncio.gather(*writes) == ids
"""

CROWDED = f"""{MANY}
async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with SQLiteJournal(Path(sys.argv[1])) as journal:
        await claims(journal, range(500))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            await record(journal, await claims(journal, range(500, 800)), "x")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("recorded")
asyncio.run(main())
"""

HEAVY = f"""{MANY}
async def main():
    async with SQLiteJournal(Path(sys.argv[1])) as journal:
        made = await claims(journal, range(64))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await record(journal, made, "x" * 1024**2)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
asyncio.run(main())
"""


def test_an_open_journal_needs_no_further_file_to_record_many_jobs(path: Path) -> None:
    """The process may have no file left, or no folder for temporary files that it can write to."""
    with start(CROWDED, path) as process:
        assert process.communicate(timeout=30)[0] == "recorded\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the memory in other units")
def test_large_predictions_that_are_recorded_together_are_not_copied_all_at_once(path: Path) -> None:
    """The journal is given 64 texts of 1 MB. Beyond these it needs room for a few."""
    with start(HEAVY, path) as process:
        assert int(process.communicate(timeout=30)[0]) < 100 * 1024


async def test_the_journal_can_be_read_with_sqlite_alone(journal: SQLiteJournal, path: Path) -> None:
    await journal.created(await intended(journal, "job"), Prediction("p1", "starting"))
    with sqlite3.connect(path) as database:
        row = database.execute("SELECT key, state, prediction_id FROM jobs").fetchone()
    database.close()
    assert row == ("job", "created", "p1")


def await_renewal(path: Path, until: float) -> None:
    """Block the event loop until the journal's only lease lasts until that time."""
    given_up = time.monotonic() + 20
    with closing(sqlite3.connect(path, timeout=10)) as database:
        while database.execute("SELECT lease_until FROM holders").fetchall() != [(until,)]:
            assert time.monotonic() < given_up
            time.sleep(0.01)


async def test_a_claim_is_valid_as_long_as_its_journal_is_open(path: Path, now: Any) -> None:
    async with SQLiteJournal(path, lease=0.3, clock=now) as other:
        async with SQLiteJournal(path, lease=0.3, clock=now) as journal:
            await claim(journal)
            for _ in range(4):
                now.seconds += 0.2
                await_renewal(path, now() + 0.3)
            with pytest.raises(JobHeldError):
                await claim(other)
        now.seconds += 0.4
        await claim(other)


ZOMBIE = """
import os, sys
child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
print(child, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells a zombie from the living")
async def test_a_zombie_process_holds_no_claim(path: Path, now: Any) -> None:
    with start(ZOMBIE, path) as parent:
        assert parent.stdout
        zombie = int(parent.stdout.readline())
        async with SQLiteJournal(path, clock=now) as journal:
            await claim(journal)
        with sqlite3.connect(path) as database:
            held = f"{socket.gethostname()} {zombie} 0123abcd"
            database.execute("UPDATE jobs SET holder = ?", (held,))
            process = msgspec.structs.replace(Process.current(now), pid=zombie, started="long ago")
            values = (held, now() + 1000, now() + 1000, msgspec.json.encode(process).decode())
            database.execute("INSERT INTO holders VALUES (?, ?, ?, ?)", values)
        database.close()
        async with SQLiteJournal(path, clock=now) as journal:
            await claim(journal)
        parent.kill()


async def test_a_process_in_a_container_with_the_same_host_name_does_not_count_as_dead(
    journal: SQLiteJournal, now: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Process ids in a container belong to another namespace, so a missing process with that id proves nothing."""
    elsewhere = msgspec.structs.replace(Process.current(now), pid=2**22 + 1, namespace="pid:[1]", started="1")
    monkeypatch.setattr(Process, "current", classmethod(lambda *_: elsewhere))
    async with SQLiteJournal(path, clock=now) as other:
        await claim(other)
    with pytest.raises(JobHeldError):
        await claim(journal)


async def test_a_new_process_with_the_id_of_a_dead_one_does_not_hold_its_claims(
    journal: SQLiteJournal, now: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = msgspec.structs.replace(Process.current(now), started="1")
    monkeypatch.setattr(Process, "current", classmethod(lambda *_: earlier))
    async with SQLiteJournal(path, clock=now) as other:
        await claim(other)
    await claim(journal)


async def test_the_database_refuses_a_state_without_its_required_data(journal: SQLiteJournal, path: Path) -> None:
    held = await intended(journal, "job")
    with pytest.raises(JournalError, match="without the prediction's end"):
        await journal.ended(held, Prediction("p1", "processing"))
    with closing(sqlite3.connect(path)) as database:
        for state in ("created", "ended", "collected"):
            with pytest.raises(sqlite3.IntegrityError):
                database.execute("UPDATE jobs SET state = ?", (state,))


async def test_only_the_owner_can_read_a_new_journal_and_its_folder(journal: SQLiteJournal, path: Path) -> None:
    await claim(journal)
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
    assert {oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {"0o600"}


def holders(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("SELECT holder FROM holders")]


async def test_rows_of_holders_that_were_killed_are_deleted_when_their_requests_have_ended(
    path: Path, now: Any
) -> None:
    async with SQLiteJournal(path, clock=now) as journal:
        await claim(journal)
    process = msgspec.json.encode(Process.current(now)).decode()
    with closing(sqlite3.connect(path)) as database, database:
        over, recent = now() - LONGEST_REQUEST - 1, now() - LONGEST_REQUEST + 1
        ended = [(f"killed {number}", over, over, process) for number in range(50)]
        alive = [("by this boot's clock", over, recent, process), ("by its own", recent, over, process)]
        database.executemany("INSERT INTO holders VALUES (?, ?, ?, ?)", [*ended, *alive])
    async with SQLiteJournal(path, clock=now) as journal:
        await claim(journal, "another")
        assert len(holders(path)) == 2 + 1 + 1  # and the first one, whose claim was never released
