from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from replicate_job.listener import bind, listen
from replicate_job.loop import new_loop

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


@pytest.mark.parametrize("turns", range(6))
def test_it_ends_and_answers_nobody_more_whenever_a_connection_is_made(
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
                with suppress(OSError):  # it may know already
                    late.sendall(REQUEST)
                await turn(20)

    # Asyncio's own server forgets those that it accepted in the turn before its end (Python 3.11): nothing to be had.
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(connect_at_the_end())
    assert asked == []
