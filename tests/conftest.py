"""Fixtures and settings for every test."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sqlite3
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from pyreqwest.client import Client, ClientBuilder
from tests.postgres import Postgres, start

from replicate_job.api.shared_limit import forget_limits
from replicate_job.clock import Clock, SystemClock
from replicate_job.database import DatabaseURL
from replicate_job.flow.context import Context, Reporter, RetryPolicy
from replicate_job.journal.open import open_journal
from replicate_job.journal.postgres_schema import SCHEMA
from replicate_job.journal.sql import SQLJournal
from replicate_job.local.options import ServerOptions
from replicate_job.local.server import serve
from replicate_job.session import open_session
from replicate_job.settings import Settings
from replicate_job.testing import ScriptedAPI
from replicate_job.wire.prediction import Prediction

if TYPE_CHECKING:
    from pyreqwest.client.types import JsonLoadsContext
    from pyreqwest.response import Response

# Other processes may slow this machine down, so the duration of an example says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=10)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Accept SIGINT even if a shell started the tests in its background. Tests send it to themselves."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """Freeze the thousands of collected tests, so that the garbage collector does not scan them each time."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use the models' environments, as these run Cog, and mark tests with PostgreSQL as long."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "cache" in fixtures:
            item.add_marker("cog")
        if "postgres" in fixtures:
            item.add_marker("long")


@pytest.fixture
def raw() -> Callable[..., bytes]:
    """Send a request over a raw socket, and read until the connection ends. Raises ConnectionResetError on a reset."""

    def raw(origin: str, request: str) -> bytes:
        host, _, port = urlsplit(origin).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(request.encode())
            received = b""
            while part := connection.recv(65536):
                received += part
            return received

    return raw


class Heard:
    """A reporter that records lines by their kind, and the statuses of predictions as they were observed."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.told: list[str] = []
        self.notes: list[str] = []
        self.statuses: list[str] = []

    def error(self, line: str) -> None:
        self.warnings.append(line)

    def warn(self, line: str) -> None:
        self.warnings.append(line)

    def tell(self, line: str) -> None:
        self.told.append(line)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def observed(self, prediction: Prediction) -> None:
        self.statuses.append(prediction.status)


class Breaking:
    """A reporter with a method that raises an error, as a caller's own reporter may."""

    def __init__(self, word: str) -> None:
        self._word = word

    def error(self, line: str) -> None:
        self._hear("error", line)

    def warn(self, line: str) -> None:
        self._hear("warn", line)

    def tell(self, line: str) -> None:
        self._hear("tell", line)

    def note(self, line: str) -> None:
        self._hear("note", line)

    def observed(self, prediction: Prediction) -> None:
        self._hear("observed", prediction.id)

    def _hear(self, word: str, said: str) -> None:
        if word == self._word:
            raise ZeroDivisionError(said)


class FastClock:
    """A clock on which waits pass ``speed`` times as fast.

    ``slept`` lists the waits in the clock's own seconds. ``set_by`` is how far its wall time was moved. Its boot is
    unique, because its seconds cannot be compared with other clocks'.
    """

    boot = "fast"

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.slept: list[float] = []
        self.set_by = 0.0

    def time(self) -> float:
        return time.time() + self.set_by

    def now(self) -> float:
        return time.monotonic() * self.speed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(seconds / self.speed)


@pytest.fixture(autouse=True)
def _no_lessons() -> Iterator[None]:
    """Forget learned rate limits after the test: another test's API may get the same port."""
    yield
    forget_limits()


@pytest.fixture(autouse=True)
def _untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn tracing off, as in most programs. Tests of OpenTelemetry import it into this process, which turns it on."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def breaking() -> Callable[[str], Reporter]:
    """``breaking("note")`` returns a reporter that fails at the first note."""
    return Breaking


@pytest.fixture
def fast() -> FastClock:
    """A clock on which fifty seconds of waiting pass in one."""
    return FastClock(50)


@pytest.fixture
def still() -> FastClock:
    """A clock at normal speed, whose wall time can be moved."""
    return FastClock(1)


@pytest.fixture
def api(replicate_api: ScriptedAPI) -> Iterator[ScriptedAPI]:
    """The scripted API. After the test no request to the delivery host may have had the token."""
    yield replicate_api
    assert not replicate_api.strayed_token()


class Relay:
    """A port that forwards to the API. While it is closed, it refuses connections."""

    def __init__(self, api: ScriptedAPI) -> None:
        self._target = urlsplit(api.base_url)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = self._server or await asyncio.start_server(self._relay, sock=self._socket)

    async def close(self) -> None:
        if self._server:
            self._server.close()
        self._socket.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        for source, sink in ((reader, back), (there, writer)):
            self._tasks.add(asyncio.create_task(self._pour(source, sink)))

    @staticmethod
    async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
        finally:
            sink.close()


@pytest.fixture(scope="session")
def postgres(testrun_uid: str, worker_id: str) -> Iterator[Postgres]:
    """A PostgreSQL server for all test workers, started when a test needs it."""
    server = start(testrun_uid, worker_id)
    yield server
    server.stop()


@pytest.fixture
async def relay(api: ScriptedAPI) -> AsyncIterator[Relay]:
    relay = Relay(api)
    yield relay
    await relay.close()


class LaterClock(SystemClock):
    """A clock that is ahead by some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return super().time() + self._seconds

    def now(self) -> float:
        return super().now() + self._seconds


@pytest.fixture
def journals(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Path | DatabaseURL]]:
    """``journals("other.db")`` returns a journal's file, or its database if REPLICATE_JOB_TESTS_JOURNAL is postgres."""
    if os.environ.get("REPLICATE_JOB_TESTS_JOURNAL") != "postgres":
        yield tmp_path.joinpath
        return
    server: Postgres = request.getfixturevalue("postgres")
    made: dict[str, str] = {}

    def journals(name: str) -> DatabaseURL:
        if name not in made:
            made[name] = server.create()
        return DatabaseURL(server.url(made[name]))

    yield journals
    for database in made.values():
        server.drop(database)


class SameJournal:
    """The journal of ``connect``, which each ``open`` opens as another process would."""

    def __init__(self, place: Path | DatabaseURL) -> None:
        self._place = place
        self.address = place.reveal() if isinstance(place, DatabaseURL) else str(place)

    def open(self, *, later: float = 0, token: str | None = None) -> SQLJournal:
        """Open the journal as a process on whose clock that much time has passed."""
        self.lapse(later)
        return open_journal(self._place, clock=LaterClock(later), token=token)

    def lapse(self, seconds: float) -> None:
        """Move the leases in a database as if that much time had passed. Leases in a file end with their processes."""
        if seconds and isinstance(self._place, DatabaseURL):
            self.execute(f"UPDATE holders SET lease_until = lease_until - {seconds}")  # noqa: S608 - a number

    def execute(self, statement: str) -> None:
        if isinstance(self._place, DatabaseURL):
            with psycopg.connect(self.address, autocommit=True, options=f"-c search_path={SCHEMA}") as connection:
                connection.execute(statement.encode())
        else:
            with closing(sqlite3.connect(self._place)) as database, database:
                database.execute(statement)


@pytest.fixture
def same_journal(journals: Callable[[str], Path | DatabaseURL]) -> SameJournal:
    return SameJournal(journals("journal.db"))


@pytest.fixture
def connect(
    tmp_path: Path, heard: Heard, journals: Callable[[str], Path | DatabaseURL]
) -> Callable[..., AbstractAsyncContextManager[Context]]:
    """``connect(api, clock=…, journal="other.db", settle=0.1, …)`` opens a context for jobs at that API."""

    @asynccontextmanager
    async def connect(
        api: ScriptedAPI,
        *,
        clock: Clock | None = None,
        journal: str = "journal.db",
        base_url: str = "",
        rate: float | None = None,
        **retry_policy: float,
    ) -> AsyncIterator[Context]:
        settings = Settings(api.token, base_url or api.base_url, journal=journals(journal), state=tmp_path / "state")
        chosen = msgspec.convert({"settle": 0.2, "overtaken": 3600} | retry_policy, RetryPolicy)
        chosen_clock = clock or SystemClock()
        async with open_session(settings, heard, retry_policy=chosen, rate=rate, clock=chosen_clock) as context:
            yield context

    return connect


# Small Cog models, written by the tests, behind the real local server and real Cog servers.

NOTHING_TO_INSTALL = 'build:\n  python_version: ""\npredict: "predict.py:Predictor"\n'


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A cache for each test worker. Only the environments are shared: each is made once for all workers."""
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "venvs"
    shared.mkdir(exist_ok=True)
    folder = tmp_path_factory.mktemp("cache")
    (folder / "venvs").symlink_to(shared)
    return folder


@pytest.fixture(scope="session")
def replicate_local_options(cache: Path) -> ServerOptions:
    return ServerOptions(cache_dir=cache, grace=0.2)


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``tmp/models/me/<name>`` and returns its folder. Its root is ``tmp/models``."""

    def write(code: str, config: str = NOTHING_TO_INSTALL, name: str = "model", **files: str) -> Path:
        folder = tmp_path / "models" / "me" / name
        folder.mkdir(parents=True)
        (folder / "cog.yaml").write_text(config)
        (folder / "predict.py").write_text(textwrap.dedent(code))
        for file, content in files.items():
            (folder / file.replace("_dot_", ".")).write_text(content)
        return folder

    return write


class Api:
    """A client of a local server. Paths are relative to its origin."""

    def __init__(self, base_url: str, client: Client) -> None:
        self.base_url, self.client = base_url, client

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        url = path if path.startswith("http") else self.base_url + path
        request = self.client.request(method, url)
        for name, value in headers.items():
            request = request.header(name.replace("_", "-"), value)
        if body is not None:
            request = request.body_bytes(msgspec.json.encode(body)).header("content-type", "application/json")
        return await request.build().send()

    async def get(self, path: str, **headers: str) -> Any:
        return await (await self.request("GET", path, **headers)).json()

    async def version(self, name: str = "me/model") -> str:
        return str((await self.get(f"/v1/models/{name}"))["latest_version"]["id"])

    async def create(self, given: dict[str, Any], **headers: str) -> Any:
        body = {"version": await self.version(), "input": given}
        return await (await self.request("POST", "/v1/predictions", body, **headers)).json()

    async def run(self, **given: Any) -> Any:
        """Run a prediction to its end."""
        prediction = await self.create(given, prefer="wait")
        assert "completed_at" in prediction, prediction
        return prediction

    async def until(self, prediction: Any, reached: Callable[[Any], bool]) -> Any:
        """Read the prediction's stream event by event until a GET shows the expected state."""
        if reached(found := await self.get(prediction["urls"]["get"])):
            return found
        async with (
            self.client.get(prediction["urls"]["stream"]).streamed_read_buffer_limit(0).build_streamed() as response
        ):
            while await response.body_reader.read_chunk():
                if reached(found := await self.get(prediction["urls"]["get"])):
                    return found
        found = await self.get(prediction["urls"]["get"])
        assert reached(found), found
        return found


async def exact(answer: JsonLoadsContext) -> Any:
    """The JSON of a response. pyreqwest's own reader is off by one bit in a tenth of all floats (measured, 0.15)."""
    return msgspec.json.decode(await answer.body_reader.bytes())


@pytest.fixture
def reach() -> Callable[[str], AbstractAsyncContextManager[Api]]:
    """Opens an ``Api`` for an origin, as a context manager."""

    @asynccontextmanager
    async def open_client(base_url: str) -> AsyncIterator[Api]:
        async with ClientBuilder().no_proxy().json_handler(loads=exact).build() as client:
            yield Api(base_url, client)

    return open_client


@pytest.fixture
def local(tmp_path: Path, cache: Path, reach: Callable[[str], AbstractAsyncContextManager[Api]]) -> Callable[..., Any]:
    """Starts a server with the test's models, as a context manager that yields an ``Api``."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Api]:
        settings: dict[str, Any] = {"models": [tmp_path / "models"], "cache_dir": cache, "grace": 0.2} | options
        async with serve(ServerOptions(**settings)) as base_url, reach(base_url) as api:
            yield api

    return start
