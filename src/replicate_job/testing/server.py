"""Serves ASGI apps on loopback from a thread, on connections that an app can break."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, suppress
from typing import TYPE_CHECKING, Self

from replicate_job.aio import LoopThread, new_loop
from replicate_job.errors import ForkedError
from replicate_job.serving.connection import BreakableProtocol
from replicate_job.serving.listener import bind, listen, origin_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class LoopbackServer:
    """Serves each app on a free port of 127.0.0.1, all of them on one event loop in a thread.

    The ports are bound at its construction, and requests are answered from ``start`` to ``close``. It installs no
    signal handlers. ``close`` resets connections, cancels running requests, and waits for the thread. In a fork of the
    process, ``close`` only closes the fork's copies of the sockets.
    """

    def __init__(self, *apps: ASGIApp) -> None:
        self._apps = apps
        self._sockets = [bind() for _ in apps]
        self.origins = tuple(map(origin_of, self._sockets))
        self._running = ExitStack()

    def start(self) -> Self:
        with ExitStack() as starting:
            thread = starting.enter_context(LoopThread(new_loop, "loopback-server"))
            listeners = AsyncExitStack()
            starting.callback(lambda: thread.run(listeners.aclose()))
            thread.run(self._listen(listeners))
            self._running = starting.pop_all()
        return self

    def close(self) -> None:
        with suppress(ForkedError):
            self._running.close()
        for listening in self._sockets:
            listening.close()

    async def _listen(self, listeners: AsyncExitStack) -> None:
        for app, listening in zip(self._apps, self._sockets, strict=True):
            await listeners.enter_async_context(listen(app, listening, BreakableProtocol))
