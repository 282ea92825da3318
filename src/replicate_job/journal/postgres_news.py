"""Notifications by LISTEN and NOTIFY. Each process has one connection for them, opened at the first wait."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import psycopg

from replicate_job.errors import JournalError
from replicate_job.journal.postgres_store import FAREWELL, Connection, PostgresStore, connect

if TYPE_CHECKING:
    from replicate_job.journal.store import Database

CHANNEL = "replicate_job"
AGAIN = 5.0
"""Seconds after which a broken connection is reopened."""
DEAF = 300.0
"""Seconds until another try if notifications do not arrive, for example behind a transaction pool."""
PROBED = 2.0
"""Seconds that a test notification may take to arrive."""
TOGETHER = 400
"""The most names in one notification, since PostgreSQL limits a notification's payload to 8,000 bytes."""


def notify(db: Database, names: Iterable[str]) -> None:
    """Notify all processes of these names once the transaction is committed."""
    marks = sorted({_mark(name) for name in names})
    for start in range(0, len(marks), TOGETHER):
        db.execute("SELECT pg_notify(?, ?)", (CHANNEL, ",".join(marks[start : start + TOGETHER])))


def _mark(name: str) -> str:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()


class Ear:
    """The ``News`` for one waiting task."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self.event = listener, asyncio.Event()

    @property
    def is_live(self) -> bool:
        return self._listener.is_live

    async def wait(self) -> None:
        await self.event.wait()
        self.event.clear()


class Listener:
    """Passes notifications on to this process's waiters, in a thread of its own."""

    def __init__(self, store: PostgresStore) -> None:
        self._store, self.is_live = store, False
        self._ears: dict[str, set[Ear]] = {}
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._awake: socket.socket
        self._wakes: socket.socket

    @contextmanager
    def news(self, name: str) -> Iterator[Ear]:
        if self._thread is None and not self._is_over.is_set():
            self._loop = asyncio.get_running_loop()
            self._awake, self._wakes = socket.socketpair()
            self._thread = threading.Thread(target=self._serve, name="journal news", daemon=True)
            self._thread.start()
        ear, mark = Ear(self), _mark(name)
        ears = self._ears.setdefault(mark, set())
        ears.add(ear)
        try:
            yield ear
        finally:
            ears.discard(ear)
            if not ears:
                self._ears.pop(mark, None)

    async def close(self) -> None:
        self._is_over.set()
        if self._thread:
            self._wakes.close()  # wakes the thread's `select`
            await asyncio.to_thread(self._thread.join, FAREWELL)

    def _serve(self) -> None:
        with closing(self._awake):
            self._listen()

    def _listen(self) -> None:
        pause = 0.0
        while not self._is_over.wait(pause):
            pause = AGAIN
            with suppress(psycopg.Error, JournalError, OSError), closing(self._connect()) as connection:
                connection.execute(f"LISTEN {CHANNEL}".encode())
                if self._arrives(connection):
                    self._call(self._set_live, True)
                    while self._receive(connection, None) is not None:
                        pass
                else:
                    pause = DEAF
            self._call(self._set_live, False)

    def _connect(self) -> Connection:
        return connect(self._store.address(), self._store.url, 5)

    def _arrives(self, connection: Connection) -> bool:
        """Whether a notification from another connection arrives on this one."""
        probe = f"probe {os.urandom(8).hex()}"
        with closing(self._connect()) as other:
            other.execute("SELECT pg_notify(%s, %s)", (CHANNEL, probe))
        until = time.monotonic() + PROBED
        while (left := until - time.monotonic()) > 0:
            if probe in (self._receive(connection, left) or ()):
                return True
        return False

    def _receive(self, connection: Connection, seconds: float | None) -> list[str] | None:
        """Wait for notifications, pass them on, and return their payloads. None if the listener is closing.

        ``seconds`` is the longest wait, None for no limit.
        """
        ready, _, _ = select.select([connection.fileno(), self._awake.fileno()], [], [], seconds)
        if self._is_over.is_set():
            return None
        texts = [found.payload for found in connection.notifies(timeout=0)] if ready else []
        marks = [mark for text in texts for mark in text.split(",")]
        self._call(self._deliver, marks)
        return texts

    def _call(self, function: Callable[[Any], None], value: Any) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(function, value)

    def _deliver(self, marks: Iterable[str]) -> None:
        for mark in marks:
            for ear in self._ears.get(mark, ()):
                ear.event.set()

    def _set_live(self, is_live: bool) -> None:  # noqa: FBT001 - `call_soon_threadsafe` passes it by position
        """Wake every waiter once: notifications may have been missed, and without them the waiters have to poll."""
        self.is_live = is_live
        self._deliver(list(self._ears))
