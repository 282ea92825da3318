"""The resources that concurrent calls share. The first call opens them, and the last running call closes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from replicate_job.aio import LoopThread
from replicate_job.client import AsyncClient
from replicate_job.forks import Owner


class SharedLoop:
    """The loop thread of blocking calls in any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant, because a signal handler may call too
        self._forget()

    def _forget(self) -> None:
        self._owner, self._users = Owner(), 0
        self._loop: LoopThread | None = None

    @contextmanager
    def lend(self) -> Iterator[LoopThread]:
        with self._lock:
            if not self._owner.is_here:  # a fork lacks the thread
                self._forget()
            loop = self._loop = self._loop or LoopThread()
            self._users += 1
        try:
            yield loop
        finally:
            with self._lock:
                self._users -= 1
                is_last = not self._users
                if is_last:
                    self._loop = None
            if is_last:
                loop.close()


class SharedClients:
    """One client for each event loop and each combination of settings."""

    def __init__(self) -> None:
        self._users: dict[tuple[asyncio.AbstractEventLoop, AsyncClient], int] = {}

    @asynccontextmanager
    async def lend(self, client: AsyncClient) -> AsyncIterator[AsyncClient]:
        """Yield an open client with the same settings. If there is none, this client is opened."""
        loop = asyncio.get_running_loop()
        used = next((each for of, each in self._users if of is loop and each.setting == client.setting), client)
        self._users[loop, used] = self._users.get((loop, used), 0) + 1
        try:
            yield used
        finally:
            self._users[loop, used] -= 1
            if not self._users[loop, used]:
                del self._users[loop, used]
                await used.aclose()
