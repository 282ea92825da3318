"""Serve ASGI apps on loopback from a thread, on connections that an app can break."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, Self

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from replicate_job.listener import bind, listen, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope

_TRANSPORT = "replicate_job.transport"


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the connection's transport among the ASGI extensions: ``Config(http=…)``."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}


def transport_of(scope: Scope) -> asyncio.Transport:
    """The connection that a request came on. Raises RuntimeError where the server does not tell."""
    try:
        transport: asyncio.Transport = scope["extensions"][_TRANSPORT]["transport"]
    except KeyError:
        raise RuntimeError("faults need a server that runs replicate_job.testing's BreakableProtocol") from None
    return transport


async def reset(scope: Scope, receive: Receive) -> None:
    """Break the connection at once (TCP RST), losing what was not yet sent, and wait until it is gone."""
    transport = transport_of(scope)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await gone(receive)


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection (TCP FIN) once what was written is sent, and wait until it is gone."""
    transport_of(scope).close()
    await gone(receive)


async def gone(receive: Receive) -> None:
    """Wait until the client's connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass


def new_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop


class LoopbackServer:
    """Runs each app on a free port of 127.0.0.1, all of them on one event loop in one thread of its own.

    Ports are bound when it is made, and requests are answered from ``start`` to ``close``. It installs no signal
    handlers. ``close`` breaks what is still connected, ends what still runs, and waits for the thread.
    """

    def __init__(self, *apps: ASGIApp) -> None:
        self._apps, self._loop_factory = apps, new_loop()
        self._sockets = [bind() for _ in apps]
        self.origins = tuple(map(origin_of, self._sockets))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted-api", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def close(self) -> None:
        if self._loop and self._stop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        for listening in self._sockets:
            listening.close()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            for app, listening in zip(self._apps, self._sockets, strict=True):
                await stack.enter_async_context(listen(app, listening, BreakableProtocol))
            self._ready.set()
            await self._stop.wait()
