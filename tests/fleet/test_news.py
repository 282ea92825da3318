"""News of jobs that other processes write, by notifications, and what happens where none arrive."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
from tests.fleet.conftest import MODEL
from tests.fleet.test_watcher import until, watching

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


async def test_who_waits_for_a_key_gets_the_job_as_soon_as_it_is_let_go(
    member: Member, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "TRUSTED", 60.0)  # without news, it would wait for the whole lease
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


async def test_a_run_hears_of_its_end_from_the_watcher_and_asks_the_api_nothing(
    member: Member, query: Query, api: ScriptedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "SOON", ())
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=1.5, output="done"))
    watcher, runner = await member(), await member()
    await listening(runner)
    async with watching(watcher):
        await until(lambda: query("SELECT * FROM roles WHERE role = 'watcher'"))
        async with asyncio.timeout(10):  # alone it would look after 15 s
            asks = [Ask(Job(MODEL, {"prompt": str(number)}), blocking_wait=0) for number in range(5)]
            results = await asyncio.gather(*(run_job(runner.context, ask) for ask in asks))
    assert [result.output for result in results] == ["done"] * 5
    assert query("SELECT DISTINCT state, holder FROM jobs") == [{"state": "collected", "holder": None}]
    assert query("SELECT * FROM procrastinate_jobs") == []
    assert api.count("get") <= 2, "the watcher's own, for the last two"


async def test_a_run_without_a_watcher_asks_by_itself(member: Member, api: ScriptedAPI) -> None:
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=0.3, output="done"))
    runner = await member()
    await listening(runner)
    async with asyncio.timeout(10):
        assert (await run_job(runner.context, Ask(JOB, blocking_wait=0))).output == "done"
    assert api.count("get") >= 1


async def test_connections_that_break_are_opened_again_and_nobody_waits_for_them(
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
        assert await news.wait(10), "all look once, as they may have missed something"
        await until(lambda: news.is_live)
    await release(one, held)
    async with asyncio.timeout(10):
        await release(other.context, await waiting)


class Pool:
    """A relay that loses notifications, as a pool of transactions does."""

    def __init__(self, server: str) -> None:
        self._server, self._listener = server, socket.create_server(("127.0.0.1", 0))
        self.port, self.lost = self._listener.getsockname()[1], 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, server = self._listener.accept()[0], socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._return, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), closing(server):
            while data := client.recv(65536):
                server.sendall(data)

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError), closing(client), closing(server), server.makefile("rb") as messages:
            while head := messages.read(5):
                body = messages.read(int.from_bytes(head[1:]) - 4)
                if head[:1] == b"A":
                    self.lost += 1
                else:
                    client.sendall(head + body)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def pooled(postgres: Postgres, database: str) -> Iterator[tuple[Pool, DatabaseURL]]:
    url = urlsplit(postgres.url(database))
    (folder,) = parse_qs(url.query)["host"]
    pool = Pool(f"{folder}/.s.PGSQL.5432")
    options = "sslmode=disable&gssencmode=disable"
    yield (
        pool,
        DatabaseURL(f"postgresql://{quote(url.username or 'postgres')}@127.0.0.1:{pool.port}/{database}?{options}"),
    )
    pool.close()


async def test_behind_a_pool_that_loses_notifications_waiters_ask_as_before(
    member: Member, pooled: tuple[Pool, DatabaseURL], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_news, "PROBED", 0.2)
    pool, url = pooled
    one, other = (await member()).context, (await member(journal=url)).context
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
