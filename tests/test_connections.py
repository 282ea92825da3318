"""Clients that let a connection wait are disconnected, and cannot block other clients."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from replicate_job.connections import Limits
from replicate_job.serving.connection import BreakableProtocol
from replicate_job.serving.listener import bind, listen

REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole request. A request for ``/hold`` gets no response."""
    request = Request(scope, receive)
    if request.url.path == "/hold":
        await asyncio.Event().wait()
    await request.body()
    await PlainTextResponse("here")(scope, receive, send)


Connect = Callable[[], Awaitable[Streams]]


@asynccontextmanager
async def serving(limits: Limits, app: ASGIApp = app) -> AsyncIterator[Connect]:
    """Serves the app, and yields a function that opens a connection. All connections are closed at the end."""
    listening, writers = bind(), list[asyncio.StreamWriter]()

    async def connect() -> Streams:
        streams = await asyncio.open_connection(*listening.getsockname(), limit=2**16)
        writers.append(streams[1])
        return streams

    try:
        async with asyncio.timeout(30), listen(app, listening, BreakableProtocol, limits):
            yield connect
    finally:
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def ask(streams: Streams) -> bytes:
    streams[1].write(REQUEST)
    return await streams[0].readline()


async def ends(reader: asyncio.StreamReader) -> bool:
    """Read until the server ends the connection."""
    try:
        while await reader.read(2**16):
            pass
    except ConnectionError:
        pass
    return True


async def trickle(writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
    """Send one byte after another while the server keeps the connection."""
    over = asyncio.create_task(ends(reader))
    while not over.done():
        writer.write(b"x")
        await asyncio.wait([over], timeout=0.01)


@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "second"])
async def test_a_client_that_does_not_finish_the_head_in_time_is_disconnected(before: bytes) -> None:
    async with serving(Limits(head=0.2)) as connect:
        reader, writer = await connect()
        if before:
            assert await ask((reader, writer)) == b"HTTP/1.1 200 OK\r\n"
        writer.write(b"GET / HTTP/1.1\r\nx: ")
        await trickle(writer, reader)
        assert await ask(await connect()) == b"HTTP/1.1 200 OK\r\n"


async def test_a_connection_without_a_request_is_closed_and_one_that_is_kept_open_after_a_request_is_not() -> None:
    async with serving(Limits(head=0.1)) as connect:
        kept, idle = await connect(), await connect()
        await ask(kept)
        assert await ends(idle[0])
        kept[1].write(REQUEST)
        await kept[0].readuntil(b"200 OK")


async def test_a_client_whose_body_stalls_is_disconnected() -> None:
    async with serving(Limits(body=0.1)) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n12")
        assert await ends(reader)


async def test_a_client_that_does_not_read_the_response_is_disconnected() -> None:
    over = asyncio.Event()

    async def sends(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(b"x" * 2**26)(scope, receive, send)
        over.set()

    async with serving(Limits(reading=0.1), sends) as connect:
        _, writer = await connect()
        writer.write(REQUEST)
        await over.wait()


async def test_at_the_connection_limit_the_connection_that_has_waited_longest_is_closed() -> None:
    async with serving(Limits(most=3)) as connect:
        first = await connect()
        kept = await connect()
        await ask(kept)
        held = await connect()
        held[1].write(b"GET /hold HTTP/1.1\r\nhost: here\r\n\r\n")
        assert await ask(await connect()) == b"HTTP/1.1 200 OK\r\n"
        assert await ends(first[0])
        assert await ask(await connect()) == b"HTTP/1.1 200 OK\r\n"
        assert await ends(kept[0])


SERVE = """
import asyncio, resource
from starlette.responses import PlainTextResponse
from replicate_job.open_files import allow_files
from replicate_job.serving.listener import bind, listen
from replicate_job.aio import new_loop

async def main():
    listening = bind()
    async with listen(PlainTextResponse("here"), listening):
        print(listening.getsockname()[1], flush=True)
        await asyncio.Event().wait()

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 256))
allow_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, 256)
with asyncio.Runner(loop_factory={loop}) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["new_loop", "asyncio.new_event_loop"])
def test_a_thousand_idle_connections_lock_no_client_out(loop: str) -> None:
    """The server may open no more than 256 files."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", SERVE.replace("{loop}", loop)], stdout=subprocess.PIPE, text=True
        ) as server,
        ExitStack() as idle,
    ):
        assert server.stdout
        place = ("127.0.0.1", int(server.stdout.readline()))
        try:
            for _ in range(1000):
                idle.enter_context(socket.create_connection(place, timeout=10))
            with socket.create_connection(place, timeout=10) as other:
                other.sendall(REQUEST)
                assert other.recv(15) == b"HTTP/1.1 200 OK"
        finally:
            server.terminate()
