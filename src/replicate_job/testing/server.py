"""Serves ASGI apps on loopback from a thread, on connections that an app can break."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Self, TypeVar

from replicate_job.aio import LoopThread, new_loop
from replicate_job.errors import ForkedError
from replicate_job.serving.connection import BreakableProtocol
from replicate_job.serving.listener import bind, listen, origin_of

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp

_T = TypeVar("_T")


@contextmanager
def in_loop_thread(server: AbstractAsyncContextManager[_T], name: str) -> Iterator[_T]:
    """Enter the context of ``server`` in a thread with its own event loop, and exit it when the block ends.

    ``name`` is the thread's name. In a fork of the process, the end of the block does nothing.
    """
    with LoopThread(new_loop, name) as thread:
        entered = AsyncExitStack()
        try:
            yield thread.run(entered.enter_async_context(server))
        finally:
            with suppress(ForkedError):
                thread.run(entered.aclose())


class LoopbackServer:
    """Serves each app on a port of 127.0.0.1, all of them on one event loop in a thread.

    ``ports`` has a port for each app, where 0 is a free port; by default all are 0. The constructor binds them,
    and raises OSError for a port that is in use. Requests are answered from ``start`` to ``close``. No signal handlers
    are installed. ``close`` resets connections, cancels running requests, and waits for the thread. In a fork of the
    process, ``close`` only closes the fork's copies of the sockets.
    """

    def __init__(self, *apps: ASGIApp, ports: Sequence[int] = ()) -> None:
        self._apps = apps
        self._sockets: list[socket.socket] = []
        self._running = ExitStack()
        try:
            self._sockets.extend(bind(port=port) for port in ports or [0] * len(apps))
        except OSError:
            self.close()
            raise
        self.origins = tuple(map(origin_of, self._sockets))

    def start(self) -> Self:
        self._running.enter_context(in_loop_thread(self._listen(), "loopback-server"))
        return self

    def close(self) -> None:
        self._running.close()
        for listening in self._sockets:
            listening.close()

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as listeners:
            for app, listening in zip(self._apps, self._sockets, strict=True):
                await listeners.enter_async_context(listen(app, listening, BreakableProtocol))
            yield
