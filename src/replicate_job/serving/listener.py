"""An ASGI app on a listening socket, inside the running event loop. Needs uvicorn, of the extra ``[local]``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from replicate_job.connections import Limits, Waiting, Watched

BACKLOG = 2048
"""Connections that the system holds until they are accepted."""


def bind(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Listen, by default on a free port of 127.0.0.1. Raises OSError where the port is taken or no address of ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # asyncio asks for no delay only on sockets that say they are TCP, and this one does not: 44 ms a request (seen).
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def origin_of(listening: socket.socket) -> str:
    """Where this machine reaches it, as ``http://127.0.0.1:8080``."""
    host, port = listening.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - every address, loopback among them
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def listen(
    app: ASGIApp,
    listening: socket.socket,
    protocol: type[HttpToolsProtocol] = HttpToolsProtocol,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> AsyncIterator[None]:
    """Answer on this socket with uvicorn's HTTP, and none of its signal handlers and its loop.

    At the end connections are broken, and requests under way cut off.
    """
    config, state, clients, is_over = _config(app, limits), ServerState(), Waiting(limits), False

    class Connection(Watched, protocol):  # type: ignore[misc, valid-type]  # whichever it is
        waiting = clients

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.access_log = False  # not in Config: that takes it from every uvicorn of this process

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(transport)
            if is_over:  # it was accepted before, and nobody knew of it yet
                transport.abort()

    clocks = asyncio.create_task(_keep_date(state)), asyncio.create_task(clients.sweep())
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, state, {}), sock=listening, backlog=clients.together
    )
    listening.listen(BACKLOG)  # asyncio's number is also how many it accepts before it does anything else
    try:
        yield
    finally:
        is_over = True
        for clock in clocks:
            clock.cancel()
        server.close()
        await _break(state)


def _config(app: ASGIApp, limits: Limits) -> Config:
    async def until_closed(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    config = Config(
        until_closed,
        lifespan="off",
        ws="none",
        log_config=None,
        proxy_headers=False,
        interface="asgi3",
        timeout_keep_alive=int(limits.kept),
    )
    config.load()
    return config


async def _break(state: ServerState) -> None:
    """End the connections, and then what still runs for them."""
    for each in list(state.connections):
        each.transport.abort()
    while state.connections:  # noqa: ASYNC110 - uvicorn keeps this set and tells nobody; it is a turn or two
        await asyncio.sleep(0)
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_date(state: ServerState) -> None:
    """Tell the time in every answer, as any server does; uvicorn leaves that to a part that is not used here."""
    while True:
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        await asyncio.sleep(1)
