"""What holds for every test."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, settings

from replicate_job.clock import SystemClock
from replicate_job.flow.context import Context, Patience, Reporter
from replicate_job.session import open_session
from replicate_job.settings import Settings
from replicate_job.testing import ScriptedAPI
from replicate_job.wire.prediction import Prediction

# The machine that runs the tests may be busy with others: how long an example takes says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=10)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs Cog: all that uses the models' environments."""
    for item in items:
        if "cache" in getattr(item, "fixturenames", ()):
            item.add_marker("cog")


@pytest.fixture
def raw() -> Callable[..., bytes]:
    """Everything that comes back on a raw socket until the connection ends. Raises ConnectionResetError on a reset."""

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
    """A reporter that remembers: lines to everyone, lines to those who ask, statuses as they were seen."""

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

    def saw(self, prediction: Prediction) -> None:
        self.statuses.append(prediction.status)


class Breaking:
    """A reporter that fails at one word, as one of a caller's own may."""

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

    def saw(self, prediction: Prediction) -> None:
        self._hear("saw", prediction.id)

    def _hear(self, word: str, said: str) -> None:
        if word == self._word:
            raise ZeroDivisionError(said)


class FastClock:
    """A clock whose waiting goes ``speed`` times as fast.

    ``slept`` lists the waits in its own seconds, ``set_by`` is by how much its wall clock is off. Of another boot than
    any other, for its seconds are its own.
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


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def breaking() -> Callable[[str], Reporter]:
    """``breaking("note")`` fails at the first note."""
    return Breaking


@pytest.fixture
def fast() -> FastClock:
    """Fifty seconds of waiting in one."""
    return FastClock(50)


@pytest.fixture
def still() -> FastClock:
    """As fast as any other; only its wall clock can be off."""
    return FastClock(1)


@pytest.fixture
def api() -> Iterator[ScriptedAPI]:
    with ScriptedAPI() as api:
        yield api


class Relay:
    """A port of its own that leads to the API; closed, it refuses connections."""

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


@pytest.fixture
async def relay(api: ScriptedAPI) -> AsyncIterator[Relay]:
    relay = Relay(api)
    yield relay
    await relay.close()


@pytest.fixture
def connect(tmp_path: Path, heard: Heard) -> Callable[..., AbstractAsyncContextManager[Context]]:
    """``connect(api, clock=…, journal="other.db", settle=0.1, …)`` opens what a job needs against that API."""

    @asynccontextmanager
    async def connect(
        api: ScriptedAPI,
        *,
        clock: FastClock | None = None,
        journal: str = "journal.db",
        base_url: str = "",
        rate: float | None = None,
        **patience: float,
    ) -> AsyncIterator[Context]:
        settings = Settings(api.token, base_url or api.base_url, journal=tmp_path / journal, state=tmp_path / "state")
        chosen = msgspec.convert({"settle": 0.2, "overtaken": 3600} | patience, Patience)
        chosen_clock = clock or SystemClock()
        async with open_session(settings, heard, patience=chosen, rate=rate, clock=chosen_clock) as context:
            yield context

    return connect
