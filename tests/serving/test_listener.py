from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from starlette.responses import PlainTextResponse

from replicate_job.aio import new_loop
from replicate_job.serving.listener import bind, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_made_during_the_shutdown_is_not_served(
    turns: int,
) -> None:
    asked: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI has it
        asked.append(scope)

    async def turn(times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def connect_at_the_end() -> None:
        listening = bind()
        address = listening.getsockname()
        async with asyncio.timeout(20):
            with ExitStack() as clients:
                async with listen(app, listening):
                    clients.enter_context(socket.create_connection(address))
                    await turn(5)
                    late = clients.enter_context(socket.create_connection(address))
                    await turn(turns)
                await turn(5)
                with suppress(OSError):  # the connection may already be closed
                    late.sendall(REQUEST)
                await turn(20)

    # Not asyncio's own loop: in Python 3.11, its server forgets connections that it accepts just before its end.
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(connect_at_the_end())
    assert asked == []


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def access_log() -> Iterator[Kept]:
    """The access log of a program that runs uvicorn itself."""
    logger, kept = logging.getLogger("uvicorn.access"), Kept()
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept
    logger.setLevel(level)
    logger.removeHandler(kept)


async def test_the_access_log_of_another_uvicorn_server_is_unchanged(access_log: Kept) -> None:
    logger, listening = logging.getLogger("uvicorn.access"), bind()
    reached_others = logger.propagate
    async with listen(PlainTextResponse("here"), listening):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(REQUEST)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        await writer.wait_closed()
        logger.info("of another")
    assert access_log.lines == ["of another"]
    assert logger.propagate == reached_others
