"""Serves an ASGI app on a listening socket, inside the running event loop. Needs uvicorn, of the extra ``[local]``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from ssl import SSLContext
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from replicate_job.connections import Limits, Waiting, Watched

BACKLOG = 2048
"""Connections that the operating system queues until they are accepted."""


def bind(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Listen, by default on a free port of 127.0.0.1. Raises OSError if that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # asyncio sets this only on sockets whose protocol is given as TCP. Without it, a request takes 44 ms (seen).
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def origin_of(listening: socket.socket) -> str:
    """The origin by which this machine reaches the socket, as ``http://127.0.0.1:8080``."""
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
    tls: SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serve ``app`` over HTTP, or over HTTPS with ``tls``. Only uvicorn's protocol is used, not its server.

    So uvicorn installs no signal handlers and no event loop. At the end, connections are reset and running requests
    canceled.
    """
    config, state, clients, is_over = _config(app, limits), ServerState(), Waiting(limits), False

    class Connection(Watched, protocol):  # type: ignore[misc, valid-type]  # a base class that is a variable
        waiting = clients

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.access_log = False  # in Config, this would silence all uvicorn servers of the process

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
            super().connection_made(transport)
            if is_over:  # a connection accepted before the end, but reported only now
                transport.abort()

    clocks = asyncio.create_task(_keep_date(state)), asyncio.create_task(clients.sweep())
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, state, {}), sock=listening, backlog=clients.together, ssl=tls
    )
    # asyncio accepts up to ``backlog`` connections in a row, and does nothing else meanwhile. So asyncio
    # gets a small backlog, and the operating system gets the full one.
    listening.listen(BACKLOG)
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
        with suppress(asyncio.CancelledError):  # when ``listen`` ends; uvicorn would log it as an error
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
    """Reset the connections, and then cancel their requests."""
    for connection in list(state.connections):
        connection.transport.abort()
    while state.connections:  # noqa: ASYNC110 - uvicorn has no event for it; it takes an iteration or two of the loop
        await asyncio.sleep(0)
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_date(state: ServerState) -> None:
    """Keep the header ``Date`` of all responses up to date. uvicorn's Server would do that, but it is not used here."""
    while True:
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        await asyncio.sleep(1)
