"""One thread that owns the SQLite connection. Work that waits while it writes shares the next transaction."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from replicate_job.errors import JournalError
from replicate_job.journal.migrations import migrate

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction."""
SHARED = 256
"""The most pieces of work in one transaction."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class _Task:
    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self.loop.create_future()

    def settle(self, value: Any, error: BaseException | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(value)
            else:
                self.done.set_exception(error)

    def settle_soon(self, value: Any, error: BaseException | None) -> None:
        try:
            self.loop.call_soon_threadsafe(self.settle, value, error)
        except RuntimeError:  # its loop has been closed: nobody waits for it any more
            return


class Writer:
    """``await writer.run(work)`` calls ``work(connection)`` inside an IMMEDIATE transaction and returns its value.

    The value comes back once the transaction is committed. An exception of ``work`` undoes that work alone.
    SQLite's own errors come back as JournalError.
    """

    def __init__(self, path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Work[T]) -> T:
        if self._thread is None:
            # A daemon: a second Ctrl-C must be able to leave while SQLite waits for a lock.
            self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
            self._thread.start()
        task = _Task(work)
        self._tasks.put(task)
        result: T = await task.done
        return result

    async def close(self) -> None:
        if self._thread is not None:
            self._tasks.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def _serve(self) -> None:
        database: sqlite3.Connection | None = None
        while (task := self._tasks.get()) is not None:
            batch = [task, *self._waiting()]
            try:
                database = database or self._open()
                outcomes = self._transact(database, batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, someone waits for the outcome
                failure = explain(error, self._path, self._busy_timeout)
                outcomes = [(None, failure)] * len(batch)
            for done, (value, error_) in zip(batch, outcomes, strict=True):
                done.settle_soon(value, error_)
        if database is not None:
            database.close()

    def _waiting(self) -> list[_Task]:
        """What has queued up meanwhile; a request to close goes back to the end of the queue."""
        batch: list[_Task] = []
        while len(batch) < SHARED:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task is None:
                self._tasks.put(None)
                break
            batch.append(task)
        return batch

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None)
        try:
            database.row_factory = sqlite3.Row
            self._use_wal(database)
            database.execute("PRAGMA synchronous = NORMAL")
            migrate(database, str(self._path))
        except BaseException:
            database.close()
            raise
        return database

    def _use_wal(self, database: sqlite3.Connection) -> None:
        """Turn the write-ahead log on, which SQLite does not wait for where another process is doing it just now."""
        given_up = time.monotonic() + self._busy_timeout
        while True:
            try:
                database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= given_up:
                    raise
                time.sleep(0.01)
            else:
                return

    def _transact(self, database: sqlite3.Connection, batch: list[_Task]) -> list[tuple[Any, BaseException | None]]:
        outcomes: list[tuple[Any, BaseException | None]] = []
        database.execute("BEGIN IMMEDIATE")
        try:
            for task in batch:
                database.execute("SAVEPOINT work")
                try:
                    outcomes.append((task.work(database), None))
                except sqlite3.IntegrityError as error:
                    database.execute("ROLLBACK TO work")
                    outcomes.append((None, explain(error, self._path, self._busy_timeout)))
                except sqlite3.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - it belongs to the one who awaits this work
                    database.execute("ROLLBACK TO work")
                    outcomes.append((None, error))
                database.execute("RELEASE work")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return outcomes


def explain(error: Exception, path: Path, waited: float) -> JournalError:
    """One line about what is wrong with the journal and what to do."""
    if isinstance(error, JournalError):
        return error
    match getattr(error, "sqlite_errorcode", -1) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return JournalError(f"the journal {path} is held by another process (waited {waited:g} s for it)")
        case sqlite3.SQLITE_READONLY:
            return JournalError(f"the journal {path} is read-only: make it writable, or name another with --journal")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return JournalError(
                f"the journal {path} is damaged ({error}): move it away, or name another with --journal"
            )
        case sqlite3.SQLITE_FULL:
            return JournalError(f"no space left for the journal {path}")
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return JournalError(f"the journal {path} cannot be used ({text}): name another with --journal")
