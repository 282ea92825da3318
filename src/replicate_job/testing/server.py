"""Serve ASGI apps on loopback from a thread, on connections that an app can break."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

from replicate_job.aio import new_loop
from replicate_job.serving.connection import BreakableProtocol
from replicate_job.serving.listener import bind, listen, origin_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class LoopbackServer:
    """Runs each app on a free port of 127.0.0.1, all of them on one event loop in one thread of its own.

    Ports are bound when it is made, and requests are answered from ``start`` to ``close``. It installs no signal
    handlers. ``close`` breaks what is still connected, ends what still runs, and waits for the thread.
    """

    def __init__(self, *apps: ASGIApp) -> None:
        self._apps = apps
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
            with asyncio.Runner(loop_factory=new_loop) as runner:
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
