"""A small HTTP server for health checks and metrics of this process: ``/healthz`` and ``/metrics``.

It shows neither inputs nor secrets. But it has no authentication, so by default it listens on this machine only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec

from replicate_job.errors import JobError, ReplicateJobError
from replicate_job.journal.entry import JobCount
from replicate_job.journal.protocol import Journal
from replicate_job.prometheus import CONTENT_TYPE, journal_up, of_journal, of_process
from replicate_job.telemetry import COUNTS

LOOPBACK = "127.0.0.1"
TOGETHER = 32
"""The most open connections. Further ones are closed."""
HEAD = 8192
"""The most bytes in the head of a request."""
PATIENCE = 5.0
"""Seconds that a client may take to send its request, and again to read the response."""
ANSWER = 2.0
"""Seconds that the journal may take to answer."""
FRESH, SHARE = 5.0, 0.05
"""The journal is counted again after ``FRESH`` seconds at the earliest, and counting takes at most this share of the
time."""
NAMED = 20
"""How many of the newest batches have counts of their own."""


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int

    @property
    def origin(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``PORT`` (on this machine only), ``HOST:PORT`` or ``[HOST]:PORT``. 0 is any free port. Raises ValueError."""
    named = text if ":" in text else f"{LOOPBACK}:{text}"
    try:
        url = urlsplit(f"//{named}")
        port = url.port
    except ValueError:
        port = None
    if port is None or not url.hostname or url.netloc != named or "@" in named:
        raise ValueError(f"{text!r} is not a port: give one from 0 to 65535, or HOST:PORT")
    return Address(url.hostname, port)


@asynccontextmanager
async def serve_health(address: Address, journal: Journal) -> AsyncIterator[Address]:
    """Serve during the block. Yields the address with the real port. Raises JobError if the address cannot be used."""
    health = _Health(journal)
    try:
        server = await asyncio.start_server(health.serve, address.host, address.port, limit=HEAD)
    except OSError as error:
        raise JobError(f"--health-port {address.host}:{address.port}: {error.strerror or error}") from None
    try:
        yield msgspec.structs.replace(address, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await health.close()


class _Refused(Exception):  # noqa: N818 - it is a response, and not an error
    def __init__(self, status: HTTPStatus, *headers: str) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


class _Health:
    def __init__(self, journal: Journal) -> None:
        self._probe, self._counted = _Single(lambda: journal.get("")), _Counted(journal)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the only request of a connection."""
        task = asyncio.current_task()
        assert task  # noqa: S101 - for the type checker: asyncio runs this in a task
        if len(self._tasks) >= TOGETHER:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                writer.write(await self._answer(reader))
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
                    writer.write_eof()
                    await reader.read(1)  # unread input would reset the connection before the response arrives
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def close(self) -> None:
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._probe.close()
        await self._counted.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            match await _read_path(reader):
                case "/healthz":
                    status, body = await self._health()
                    return _write(status, body)
                case "/metrics":
                    return _write(HTTPStatus.OK, await self._metrics(), f"Content-Type: {CONTENT_TYPE}")
                case _:
                    return _write(HTTPStatus.NOT_FOUND, "there are /healthz and /metrics\n")
        except _Refused as refused:
            return _write(refused.status, f"{refused.status.phrase}\n", *refused.headers)

    async def _health(self) -> tuple[HTTPStatus, str]:
        """Check the journal. The event loop is checked too, because this code runs in it."""
        try:
            await self._probe.result()
        except TimeoutError:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"the journal has not answered for {ANSWER:g} s\n"
        except ReplicateJobError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n"
        return HTTPStatus.OK, "ok\n"

    async def _metrics(self) -> str:
        lines = [*of_process(COUNTS)]
        try:
            counts, named = await self._counted.get()
        except ReplicateJobError:
            return "".join([*lines, *journal_up(up=False)])
        return "".join([*lines, *journal_up(up=True), *of_journal(counts, named)])


class _Single:
    """Work that runs at most once at a time. Further callers wait for the same run, so a slow journal gets no queue."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._work = work
        self._task: asyncio.Task[object] | None = None

    @property
    def is_under_way(self) -> bool:
        return self._task is not None

    async def result(self) -> None:
        """Wait for the run. If none is under way, start one first.

        Raises the errors of the run, and TimeoutError after ``ANSWER`` seconds.
        """
        task = self._task = self._task or asyncio.create_task(self._work())
        done, _ = await asyncio.wait([task], timeout=ANSWER)
        if not done:
            raise TimeoutError
        if self._task is task:
            self._task = None
        task.result()

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class _Counted:
    """The journal's counts. Counting reads every row, so the counts may be as old as ``FRESH`` and ``SHARE`` allow."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: tuple[list[JobCount], set[str]] = [], set()
        self._next = 0.0
        self._counting = _Single(self._count)
        self.close = self._counting.close

    async def get(self) -> tuple[list[JobCount], set[str]]:
        """The counts, or the previous counts if counting takes longer than ``ANSWER`` seconds. Raises JournalError."""
        if self._counting.is_under_way or time.monotonic() >= self._next:
            with suppress(TimeoutError):
                await self._counting.result()
        return self._known

    async def _count(self) -> None:
        began = time.monotonic()
        counts = await self._journal.counts()
        self._known = counts, {batch.id for batch in (await self._journal.batches())[:NAMED]}
        ended = time.monotonic()
        self._next = ended + max(FRESH, (ended - began) / SHARE)


async def _read_path(reader: asyncio.StreamReader) -> str:
    """The path of a GET request, without its query.

    Raises _Refused for any other request, and TimeoutError for a slow request.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, path, version
        raise _Refused(HTTPStatus.BAD_REQUEST)
    if words[0] != "GET":
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET")
    return words[1].partition("?")[0]


def _write(status: HTTPStatus, body: str, *headers: str) -> bytes:
    content = body.encode()
    kind = () if any(header.startswith("Content-Type") for header in headers) else ("Content-Type: text/plain",)
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *headers,
        *kind,
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + content
