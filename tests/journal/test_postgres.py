"""A journal in PostgreSQL when connections break, servers restart, and databases are wrong."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from tests.postgres import start

from replicate_job.clock import Moment
from replicate_job.database import DatabaseURL
from replicate_job.errors import JobHeldError, JournalError
from replicate_job.job import Job
from replicate_job.journal.entry import Adoption, BatchEntry, Claim, CreateRequest
from replicate_job.journal.postgres import PostgresJournal, migrate_database
from replicate_job.journal.postgres_fleet import FleetTables
from replicate_job.journal.postgres_queue import CHUNK
from replicate_job.journal.postgres_schema import MIGRATIONS
from replicate_job.journal.postgres_submission import HELD, BatchFacts, NewRow, Submission
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

if TYPE_CHECKING:
    from tests.journal.conftest import DatabasePlace
    from tests.postgres import Postgres

pytestmark = pytest.mark.long
API = "https://api.example.com/v1"
JOB = Job("acme/model", {"prompt": "x"})
REQUEST = CreateRequest(Target("model", "acme", "model"), "/models/acme/model/predictions", b'{"input":{"prompt":"x"}}')
SENT = Moment(1_000_000.0, "this boot", 1_000_000.0)
STARTED = Prediction("p1", "starting")
DONE = Prediction("p1", "succeeded", output="x")


class Relay:
    """Relays between a journal and its server. On request it loses commits, or only the answers to them."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lost_answers = self.lost_commits = 0
        self.is_cut = False
        self._clients: list[socket.socket] = []
        self.at_loss: Callable[[], object] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                if self.is_cut:
                    client.close()
                    continue
                self._clients.append(client)
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._return, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), closing(client), closing(server):
            while data := client.recv(65536):
                if b"COMMIT" in data and self.lost_commits:
                    self.lost_commits -= 1
                    self.at_loss()
                    server.shutdown(socket.SHUT_RDWR)
                    client.shutdown(socket.SHUT_RDWR)
                    break
                if b"COMMIT" in data and self.lost_answers:
                    self.lost_answers -= 1
                    self.at_loss()
                    with suppress(OSError):  # it may be cut already
                        client.shutdown(socket.SHUT_RDWR)  # the thread that returns answers cannot do it any more
                    server.sendall(data)
                    server.settimeout(5)
                    while server.recv(65536):
                        pass
                server.sendall(data)

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Close all connections, and every new one at once."""
        self.is_cut = True
        clients, self._clients = self._clients, []
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def relay(database: DatabasePlace) -> Iterator[Relay]:
    folder = database.server.execute("SHOW unix_socket_directories")[0]["unix_socket_directories"]
    relay = Relay(f"{folder}/.s.PGSQL.5432")
    yield relay
    relay.close()


@pytest.fixture
def url(database: DatabasePlace, relay: Relay) -> str:
    """The address of the database behind the relay."""
    return f"postgresql://postgres@127.0.0.1:{relay.port}/{database.name}?sslmode=disable&gssencmode=disable"


@pytest.fixture
async def journal(url: str) -> AsyncIterator[PostgresJournal]:
    async with PostgresJournal(DatabaseURL(url), token="t") as journal:  # noqa: S106 - not a real token
        yield journal


async def claim(journal: PostgresJournal, **options: Any) -> Claim:
    return await journal.claim("job", API, JOB, None, **options)


def lose(relay: Relay, what: str) -> None:
    setattr(relay, what, 1)


@pytest.mark.parametrize("lost", ["lost_answers", "lost_commits"])
async def test_every_state_is_written_once_if_the_connection_breaks_at_the_commit(
    journal: PostgresJournal, relay: Relay, lost: str
) -> None:
    async def check(state: str, sends: int) -> None:
        assert relay.lost_answers == relay.lost_commits == 0
        entry = await journal.get("job")
        assert entry
        assert (entry.state, entry.sends) == (state, sends)
        lose(relay, lost)

    lose(relay, lost)
    held = await claim(journal)
    assert (held.fence, held.intends) == (1, False)
    await check("claimed", 0)
    assert (await journal.intend(held, REQUEST, SENT)).intends
    await check("intended", 1)
    await journal.unsent(held)
    await check("claimed", 0)
    await journal.intend(held, REQUEST, SENT)
    await check("intended", 1)
    await journal.uncertain(held, "perhaps")
    await check("uncertain", 1)
    assert await journal.adopt(held, ["p1", "p2"]) == Adoption(unclear=("p1", "p2"))
    await check("uncertain", 1)
    assert await journal.adopt(held, ["p1"]) == Adoption("p1")
    await check("created", 1)
    assert await journal.created(held, STARTED) == "p1"
    await check("created", 1)
    await journal.ended(held, DONE)
    await check("ended", 1)
    await journal.release(held)
    await check("ended", 1)
    again = await claim(journal)
    assert (again.fence, again.intends) == (held.fence + 1, False)
    await check("ended", 1)
    await journal.collected(again, DONE)
    await check("collected", 1)


@pytest.mark.parametrize("lost", ["lost_answers", "lost_commits"])
async def test_a_claim_with_its_create_request_records_the_intent_once_if_the_connection_breaks(
    journal: PostgresJournal, relay: Relay, lost: str
) -> None:
    lose(relay, lost)
    held = await claim(journal, request=REQUEST, sent=SENT)
    assert (held.fence, held.intends, held.entry.sends) == (1, True, 1)
    await journal.release(held)
    lose(relay, lost)
    again = await claim(journal, request=REQUEST, sent=SENT)
    assert (again.fence, again.intends, again.entry.state, again.entry.sends) == (2, False, "intended", 1)
    lose(relay, lost)
    assert await journal.created(again, STARTED) == "p1"


async def test_claims_and_predictions_of_many_tasks_share_transactions(database: DatabasePlace) -> None:
    async with PostgresJournal(DatabaseURL(database.address), token="t") as journal:  # noqa: S106 - not a real token
        keys = [f"job-{number}" for number in range(100)]
        claims = await asyncio.gather(*(journal.claim(key, API, JOB, None, request=REQUEST) for key in keys))
        query = "SELECT count(DISTINCT xmin::text) AS n FROM replicate_job.jobs"
        assert database.execute(query)[0]["n"] <= 2
        made = [Prediction(key, "succeeded") for key in keys]
        await asyncio.gather(*(journal.created(*pair, collected=True) for pair in zip(claims, made, strict=True)))
        assert database.execute(query)[0]["n"] <= 2
        await asyncio.gather(*map(journal.release, claims))
        assert database.execute(query)[0]["n"] <= 2


async def test_a_prediction_is_written_even_if_its_task_is_cancelled(database: DatabasePlace) -> None:
    keys = [f"job-{number}" for number in range(5)]
    async with PostgresJournal(DatabaseURL(database.address), token="t") as journal:  # noqa: S106 - not a real token
        claims = [await journal.claim(key, API, JOB, None, request=REQUEST) for key in keys]
        made = [Prediction(key, "starting") for key in keys]
        writes = list[asyncio.Task[str]]()
        for pair in zip(claims, made, strict=True):
            writes.append(asyncio.create_task(journal.created(*pair)))
            for _ in range(5):
                await asyncio.sleep(0)  # the first write is under way, and the others wait for it
        for write in writes:
            write.cancel()
        await asyncio.wait(writes)
    written = database.execute("SELECT prediction_id FROM replicate_job.jobs WHERE state = 'created' ORDER BY key")
    assert [row["prediction_id"] for row in written] == keys


async def test_a_cancelled_task_with_a_lost_claim_still_records_its_prediction(
    database: DatabasePlace,
) -> None:
    async with PostgresJournal(DatabaseURL(database.address), token="t") as journal:  # noqa: S106 - not a real token
        older = await journal.claim("k", API, JOB, None, request=REQUEST)
        await journal.release(older)
        await journal.claim("k", API, JOB, None)
        write = asyncio.create_task(journal.created(older, STARTED))
        await asyncio.sleep(0)
        write.cancel()
        await asyncio.wait([write])
    assert database.execute("SELECT prediction_id FROM replicate_job.jobs") == [{"prediction_id": "p1"}]


async def test_a_value_that_the_database_refuses_fails_only_its_own_job(database: DatabasePlace) -> None:
    async with PostgresJournal(DatabaseURL(database.address), token="t") as journal:  # noqa: S106 - not a real token
        too_long = "".join(uuid4().hex for _ in range(1000))  # longer than an index allows
        keys = ["a", "b", too_long, "c"]
        claims = [journal.claim(key, API, JOB, None, request=REQUEST) for key in keys]
        outcomes = await asyncio.gather(*claims, return_exceptions=True)
        assert [isinstance(outcome, Claim) for outcome in outcomes] == [True, True, False, True]
        with pytest.raises(JournalError, match="does not take this"):
            raise outcomes[2]  # type: ignore[misc] # it is an exception


@pytest.mark.parametrize("lost", ["lost_answers", "lost_commits"])
async def test_claims_in_one_transaction_record_each_intent_once_if_the_connection_breaks_at_the_commit(
    journal: PostgresJournal, relay: Relay, lost: str
) -> None:
    lose(relay, lost)
    keys = [f"job-{number}" for number in range(10)]
    claims = await asyncio.gather(*(journal.claim(key, API, JOB, None, request=REQUEST) for key in keys))
    assert [(held.intends, held.entry.sends) for held in claims] == [(True, 1)] * 10
    lose(relay, lost)
    made = [Prediction(key, "succeeded") for key in keys]
    pairs = zip(claims, made, strict=True)
    assert await asyncio.gather(*(journal.created(*pair, collected=True) for pair in pairs)) == keys


async def cancelled_at_loss(relay: Relay, lost: str, work: Coroutine[Any, Any, object]) -> None:
    """Cancel this work's task once its connection breaks at the commit, and wait for the task's end."""
    loop, task = asyncio.get_running_loop(), asyncio.create_task(work)
    relay.at_loss = lambda: loop.call_soon_threadsafe(task.cancel)
    lose(relay, lost)
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("lost", ["lost_answers", "lost_commits"])
@pytest.mark.parametrize("options", [{}, {"request": REQUEST}], ids=["claimed", "intended"])
async def test_a_claim_cancelled_while_its_connection_breaks_at_the_commit_is_released(
    journal: PostgresJournal, relay: Relay, lost: str, options: dict[str, Any]
) -> None:
    await cancelled_at_loss(relay, lost, claim(journal, **options))
    entry = await journal.get("job")
    assert entry
    assert (entry.state, entry.sends) == ("claimed", 0)
    await journal.release(await claim(journal, **options))
    await cancelled_at_loss(relay, lost, claim(journal, **options))
    await claim(journal)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["failed", "cancelled"])
@pytest.mark.parametrize(
    ("is_known", "options"),
    [(False, {}), (True, {}), (False, {"request": REQUEST})],
    ids=["new", "known", "intended"],
)
async def test_a_job_whose_claim_got_no_answer_can_be_claimed_once_the_database_is_back(  # noqa: PLR0913 - its faults
    database: DatabasePlace, relay: Relay, url: str, *, options: dict[str, Any], is_cancelled: bool, is_known: bool
) -> None:
    """The database stays away for longer than the claim, and its undoing, wait for it."""
    async with PostgresJournal(DatabaseURL(url), token="t", patience=0.2) as journal:  # noqa: S106 - not a real token
        await journal.claim("another", API, JOB, None)  # so the process renews its lease from now on
        if is_known:
            await journal.release(await claim(journal))
        loop, claiming = asyncio.get_running_loop(), asyncio.create_task(claim(journal, **options))

        def go_away() -> None:
            relay.cut()
            if is_cancelled:
                loop.call_soon_threadsafe(claiming.cancel)

        relay.at_loss = go_away
        lose(relay, "lost_answers")
        with pytest.raises(asyncio.CancelledError if is_cancelled else JournalError):
            await claiming
        (row,) = database.execute("SELECT holder FROM replicate_job.jobs WHERE key = 'job'")
        assert row["holder"] == journal.holder
        relay.mend()
        async with asyncio.timeout(10):
            while True:
                with suppress(JobHeldError):
                    again = await claim(journal, **options)
                    break
                await asyncio.sleep(0.05)
        assert (again.entry.state, again.entry.sends) == ("claimed", 0)


@pytest.mark.parametrize("lost", ["lost_answers", "lost_commits"])
async def test_a_submission_cancelled_while_its_connection_breaks_at_the_first_commit_leaves_no_draft(
    journal: PostgresJournal, relay: Relay, database: DatabasePlace, lost: str
) -> None:
    await cancelled_at_loss(relay, lost, Submission(journal.store).__aenter__())
    await journal.store.close()
    assert database.execute("SELECT id FROM replicate_job.batches") == []


@pytest.mark.parametrize("lost", ["lost_answers", "lost_commits"])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_batch_is_submitted_once_if_the_connection_breaks_at_each_commit(
    journal: PostgresJournal, relay: Relay, database: DatabasePlace, lost: str, times: int
) -> None:
    lines = range(1, 2 * HELD + 6)
    facts = BatchFacts(BatchEntry("b", API, "", "", 0), b"{}", None, None, (), b"{}")
    for _ in range(times):
        lose(relay, lost)
        async with Submission(journal.store) as submission:
            for start in range(0, len(lines), HELD):
                lose(relay, lost)
                await submission.add([NewRow(line, f"b/{line}", b"{}") for line in lines[start : start + HELD]])
            lose(relay, lost)
            await submission.finish(facts)
    counts = "SELECT count(*) AS n, count(DISTINCT line) AS lines FROM replicate_job.batch_rows"
    assert database.execute(counts) == [{"n": len(lines), "lines": len(lines)}]
    assert database.execute("SELECT id FROM replicate_job.batches") == [{"id": "b"}]
    spans = database.execute("SELECT args FROM replicate_job.procrastinate_jobs ORDER BY id")
    assert [row["args"]["first"] for row in spans] == list(lines[::CHUNK])


async def test_a_rate_limit_is_swapped_if_the_connection_breaks_at_the_commit(
    journal: PostgresJournal, relay: Relay
) -> None:
    lose(relay, "lost_answers")
    assert await journal.swap_rate(API, "create", "", "1") is None
    lose(relay, "lost_answers")
    assert await journal.swap_rate(API, "create", "1", "2") is None
    assert await journal.swap_rate(API, "create", "1", "3") == "2"


@pytest.mark.parametrize("lost", ["lost_answers", "lost_commits"])
async def test_periodic_work_and_the_watchers_role_are_taken_if_the_connection_breaks_at_the_commit(
    journal: PostgresJournal, relay: Relay, database: DatabasePlace, lost: str
) -> None:
    tables = FleetTables(journal)
    async with PostgresJournal(DatabaseURL(database.address), token="t") as other:  # noqa: S106 - not a real token
        for take in (tables.is_due, tables.elect):
            lose(relay, lost)
            assert await take("upkeep", API, 30)
            assert not await FleetTables(other).is_due("upkeep", API, 30)
            assert not await tables.is_due("upkeep", API, 30)
            database.execute("UPDATE replicate_job.roles SET until = 0")


async def test_broken_connections_are_reopened(database: DatabasePlace) -> None:
    async with database.open() as journal:
        claims = [asyncio.ensure_future(journal.claim(f"job-{n}", API, JOB, None, request=REQUEST)) for n in range(60)]
        while not all(held.done() for held in claims):
            database.server.cut(database.name)
            await asyncio.sleep(0.02)
        assert all(held.result().intends for held in claims)
        assert [entry.sends for entry in await journal.entries()] == [1] * 60


async def test_no_committed_write_is_lost_in_a_crash_of_the_server() -> None:
    """The server is killed as in a crash, while facts are written."""
    server = start(uuid4().hex, "own")
    try:
        url = DatabaseURL(server.url())
        await migrate_database(url)
        async with PostgresJournal(url) as journal:
            await claim(journal)
            restart = asyncio.create_task(asyncio.to_thread(server.restart))
            written = 0
            while not restart.done():
                held = await journal.claim(f"job-{written}", API, JOB, None, request=REQUEST)
                await journal.created(held, msgspec.structs.replace(STARTED, id=f"p{written}"))
                written += 1
            await restart
            entries = [entry for entry in await journal.entries() if entry.prediction_id]
            assert len(entries) == written > 0
            assert {entry.sends for entry in entries} == {1}
    finally:
        server.stop()


async def test_an_unreachable_database_raises_a_one_line_error(database: DatabasePlace) -> None:
    async with PostgresJournal(DatabaseURL(database.address), patience=0.5) as journal:
        held = await claim(journal)
        database.server.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
        database.server.cut(database.name)
        with pytest.raises(JournalError, match=r"cannot be reached .*not currently accepting connections"):
            await journal.intend(held, REQUEST, SENT)
        database.server.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
        assert (await journal.intend(held, REQUEST, SENT)).entry.sends == 1


async def test_a_transaction_of_a_stopped_process_is_ended_by_the_server(database: DatabasePlace) -> None:
    async with database.open() as journal:
        limit = await journal._store.read(lambda db: db.execute("SHOW idle_in_transaction_session_timeout").fetchone())  # noqa: SLF001 - the store's own connection
    assert limit == {"idle_in_transaction_session_timeout": "5s"}


async def opening(url: str) -> str:
    with pytest.raises(JournalError) as caught:
        async with PostgresJournal(DatabaseURL(url)):
            pass
    text = str(caught.value)
    assert "\n" not in text
    return text


async def test_a_database_without_tables_or_with_newer_ones_is_refused(postgres: Postgres) -> None:
    name = postgres.empty()
    url = postgres.url(name)
    assert "has no tables yet: run `replicate-job migrate`" in await opening(url)
    assert await migrate_database(DatabaseURL(url)) == (0, len(MIGRATIONS))
    assert await migrate_database(DatabaseURL(url)) == (len(MIGRATIONS), len(MIGRATIONS))
    async with PostgresJournal(DatabaseURL(url)) as journal:
        assert await journal.entries() == []
        postgres.execute("INSERT INTO replicate_job.migrations (number) VALUES (99)", database=name)
        await claim(journal)  # an open journal still works
    assert "a newer release of replicate-job: update this one" in await opening(url)
    with pytest.raises(JournalError, match="newer release"):
        await migrate_database(DatabaseURL(url))
    postgres.drop(name)


async def test_several_processes_can_migrate_at_the_same_time(postgres: Postgres) -> None:
    name = postgres.empty()
    url = DatabaseURL(postgres.url(name))
    results = await asyncio.gather(*(migrate_database(url) for _ in range(4)))
    assert sorted(results) == [(0, len(MIGRATIONS))] + [(len(MIGRATIONS), len(MIGRATIONS))] * 3
    postgres.drop(name)


async def test_a_database_with_another_encoding_is_refused(postgres: Postgres) -> None:
    name = postgres.empty("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "has the encoding LATIN1: create a database with ENCODING 'UTF8'" in await opening(postgres.url(name))
    postgres.drop(name)


async def test_commits_are_synced_even_if_the_servers_default_is_off(database: DatabasePlace) -> None:
    database.server.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    async with database.open() as journal:
        found = await journal._store.read(lambda db: db.execute("SHOW synchronous_commit").fetchone())  # noqa: SLF001 - the store's own connection
    assert found == {"synchronous_commit": "on"}


async def test_a_missing_server_raises_a_one_line_error_without_the_password() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    text = await opening(f"postgresql://me:s3cret@127.0.0.1:{port}/jobs")
    assert text.startswith(f"the journal postgresql://me:***@127.0.0.1:{port}/jobs cannot be reached (")
    assert "s3cret" not in text


async def test_the_error_for_a_refused_connection_says_what_to_check(postgres: Postgres) -> None:
    assert "is its name right, and was it created?" in await opening(postgres.url("missing"))
    url = postgres.url().replace("//postgres:", "//stranger:")
    assert (await opening(url)).endswith('role "stranger" does not exist): is the user right?')


async def test_a_server_that_does_not_answer_raises_an_error_after_some_seconds() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        async with asyncio.timeout(30):
            text = await opening(f"postgresql://me:s3cret@127.0.0.1:{server.getsockname()[1]}/jobs?sslmode=disable")
    assert "cannot be reached" in text


async def test_a_local_server_is_started_migrated_and_stopped() -> None:
    folder = Path(tempfile.mkdtemp()) / "pg"
    url = DatabaseURL(f"postgres-local:{folder}")
    async with PostgresJournal(url) as journal:
        await claim(journal)
        async with PostgresJournal(url) as other:
            assert len(await other.entries()) == 1
        assert (folder / "postmaster.pid").exists()
    assert not (folder / "postmaster.pid").exists()
    shutil.rmtree(folder.parent)


async def test_the_error_for_a_server_that_does_not_start_has_the_message_of_postgresql() -> None:
    folder = Path(tempfile.mkdtemp()) / "pg"
    folder.mkdir()
    (folder / "somebodys.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(JournalError, match=r"does not start \(initdb: error: directory .* exists but is not empty\)$"):
        async with PostgresJournal(DatabaseURL(f"postgres-local:{folder}")):
            pass
    assert [file.name for file in folder.iterdir()] == ["somebodys.txt"]
    shutil.rmtree(folder.parent)
