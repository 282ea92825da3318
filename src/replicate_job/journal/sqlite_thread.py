"""A thread that owns the SQLite connection. Work that arrives during a transaction shares the next transaction."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from replicate_job.aio import through
from replicate_job.errors import JournalError, TooLargeError
from replicate_job.forks import Owner
from replicate_job.journal.migrations import migrate
from replicate_job.journal.processor import Follower
from replicate_job.journal.store import Database, Sync, Undo

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction."""
CHECKPOINT = 8000
"""The number of pages (of 4 KiB) in the write-ahead log at which they are moved to the file. The number is high, so
that a page that changes many times is moved only one time: with a million jobs, index pages are written at random."""
MANY, GATHERING = 20, 0.003
"""After a transaction with at least ``MANY`` pieces of work, the next transaction waits ``GATHERING`` seconds for
more work."""
SOON = 0.5
"""Seconds after which work with the sync ``soon`` is put on the disk, unless other synced work has put it there."""
FAREWELL = 0.1
"""Seconds that a closing connection waits for another process's transaction before it skips its last writes."""
SHARED = 256
"""The most pieces of work in one transaction."""

OWN = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError)
"""Errors of one piece of work. SQLite's other errors are about the file. DataError and OverflowError mean that a
value is too large."""

T = TypeVar("T")
Item = TypeVar("Item")
Work = Callable[[sqlite3.Connection], T]

Outcome = tuple[Any, BaseException | None]


class GroupWork(Generic[Item, T]):
    """Work for one item. ``write`` does the work for several items of a transaction, and returns a value for each item.

    The order of group works that follow each other may change. One statement for many rows costs less than many
    statements, since each statement releases the interpreter's lock and then waits for it.
    """

    __slots__ = ("item", "write")

    def __init__(self, write: Callable[[Database, Sequence[Item]], Sequence[T]], item: Item) -> None:
        self.write, self.item = write, item

    def __call__(self, db: Database) -> T:
        return self.write(db, [self.item])[0]


class _Task:
    __slots__ = ("done", "loop", "sync", "work")

    def __init__(self, work: Work[Any], sync: Sync | None) -> None:
        self.work, self.sync = work, sync
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self.loop.create_future()

    def settle(self, value: Any, error: BaseException | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(value)
            else:
                self.done.set_exception(error)


def _settle(tasks: list[_Task], outcomes: list[Outcome]) -> None:
    """Set the outcomes. Each event loop is woken once for all its tasks in the transaction."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Task, Outcome]]] = {}
    for task, outcome in zip(tasks, outcomes, strict=True):
        by_loop.setdefault(task.loop, []).append((task, outcome))

    def settle(pairs: list[tuple[_Task, Outcome]]) -> None:
        for task, outcome in pairs:
            task.settle(*outcome)

    for loop, pairs in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed, so no task waits any more
            loop.call_soon_threadsafe(settle, pairs)


def _together(database: sqlite3.Connection, works: list[Work[Any]]) -> list[Outcome]:
    """Do all work in its order. Group works that follow each other are done together, in any order."""
    values: list[Any] = []
    groups: list[GroupWork[Any, Any]] = []
    for work in works:
        if isinstance(work, GroupWork):
            groups.append(work)
            continue
        values += _do_groups(database, groups)
        groups.clear()
        values.append(work(database))
    values += _do_groups(database, groups)
    return [(value, None) for value in values]


def _do_groups(database: sqlite3.Connection, works: Sequence[GroupWork[Any, Any]]) -> list[Any]:
    values: list[Any] = [None] * len(works)
    places: dict[Any, list[int]] = {}
    for place, work in enumerate(works):
        places.setdefault(work.write, []).append(place)
    for write, own in places.items():
        for place, value in zip(own, write(database, [works[place].item for place in own]), strict=True):
            values[place] = value
    return values


class SQLiteThread:
    """``await thread.run(work)`` calls ``work(connection)`` inside an IMMEDIATE transaction and returns its value.

    ``run`` returns after the transaction is committed. With the sync ``now``, the data are then on the disk, safe from
    a power cut, in the file at ``path``: JournalError is raised if that file was removed or replaced. With ``soon``,
    they reach the disk with the next synced transaction, the next beat, or at the end. An exception of ``work`` undoes
    only that work. Work may be called twice, with the first call rolled back, if other work in its transaction fails.
    SQLite's own errors become JournalError. ``opened`` is called with each new connection. ``closing`` is called before
    the connection is closed, if the file is not locked. While ``beats`` is true, ``beat`` runs every ``every`` seconds,
    even if the event loop is busy.

    Work may set a ``note`` about what it has written. ``committed`` is called with the last note once its transaction
    is committed. A note is dropped if its work is rolled back.
    """

    may_be_done = False  # a commit to a file either succeeds or raises

    def __init__(  # noqa: PLR0913 - the file, and the callbacks of the journal
        self,
        path: Path,
        beat: Work[None],
        *,
        every: float,
        busy_timeout: float = BUSY_TIMEOUT,
        opened: Work[None] = lambda _: None,
        closing: Work[None] = lambda _: None,
        committed: Callable[[Any], None] = lambda _: None,
    ) -> None:
        self._path = path.absolute()  # SQLite gives bare names such as :memory: a meaning of its own
        self._file: tuple[int, int] | None = None  # what ``_identify`` returned for the open file
        self._busy_timeout, self._opened, self._closing = busy_timeout, opened, closing
        self._beat, self._every, self.beats = beat, every, False
        self._committed = committed
        self.note: Any = None
        self._pending: list[_Task] = []
        self._is_busy = self._is_synced = self._owes_sync = False
        self._tasks: queue.SimpleQueue[list[_Task] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._owner = Owner()

    async def run(self, work: Work[T], *, sync: Sync | None = None, undo: Undo | None = None) -> T:
        self._owner.check()
        if self._thread is None:
            # A daemon thread lets a second Ctrl-C end the process while SQLite waits for a lock.
            self._ended: Future[None] = Future()
            self._ended.set_running_or_notify_cancel()  # a task that stops waiting does not cancel it
            self._thread = threading.Thread(target=self._serve, args=(self._ended,), name="journal", daemon=True)
            self._thread.start()
            self._follower = Follower(self._thread.native_id)
        task = _Task(work, sync)
        if not self._pending or self._pending[0].loop is not task.loop:
            self._pending = []
            if self._is_busy:
                task.loop.call_later(GATHERING, self._hand_over)
            else:
                task.loop.call_soon(self._hand_over)
        self._pending.append(task)
        try:
            result: T = await task.done
        except asyncio.CancelledError:
            if undo:  # the thread does the work although the task was cancelled
                with suppress(JournalError):
                    await asyncio.shield(undo())
            raise
        return result

    read = run

    async def vacuum(self) -> None:
        """Return the file's free pages to the disk. Raises JournalError, for example while another process writes."""
        await asyncio.to_thread(self._vacuum)

    def _vacuum(self) -> None:
        """Use a separate connection, because VACUUM cannot run inside a transaction."""
        try:
            self._check_file()
            with closing(sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None)) as database:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise explain(error, self._path, self._busy_timeout) from None

    def _hand_over(self) -> None:
        """Give all pending work to the thread together, since waking the thread costs more than the work."""
        tasks, self._pending = self._pending, []
        if not tasks:  # the end of the thread came first
            return
        self._follower.follow()
        self._is_busy = len(tasks) >= MANY
        self._tasks.put(tasks)

    async def close(self) -> None:
        """End the thread after all work. A cancellation waits for that too. In a fork of the process this does nothing.

        The end is a future, since a ``join`` would need a further thread to wait in.
        """
        thread = self._thread
        if thread is None or not self._owner.is_here:
            return
        ended = self._ended
        self._hand_over()
        self._tasks.put(None)
        try:
            await through(asyncio.wrap_future(ended))
        finally:
            if ended.done():  # it is not if this coroutine was thrown away
                thread.join()
                if self._thread is thread:  # and no other task has closed it meanwhile
                    self._thread, self._tasks = None, queue.SimpleQueue()

    def _serve(self, ended: Future[None]) -> None:
        try:
            self._work()
        finally:
            ended.set_result(None)

    def _work(self) -> None:
        database: sqlite3.Connection | None = None
        due = time.monotonic() + self._every
        while True:
            try:
                first = self._tasks.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                tasks = []
            else:
                if first is None:
                    break
                tasks = self._gather(first)
            is_due = time.monotonic() >= due
            works = [task.work for task in tasks] + [self._beat] * (is_due and self.beats)
            syncs = {task.sync for task in tasks}
            try:
                database = database or self._open()
                if "now" in syncs:
                    self._check_file()
                self._set_synced(database, wanted="now" in syncs or (is_due and self._owes_sync))
                outcomes = self._transact(database, works) if works else []
                if works:
                    self._owes_sync = not self._is_synced and (self._owes_sync or "soon" in syncs)
            except Exception as error:  # noqa: BLE001 - the waiting tasks get every error
                failure = explain(error, self._path, self._busy_timeout)
                outcomes = [(None, failure)] * len(tasks)
            due = time.monotonic() + self._every if is_due else due
            if self._owes_sync:
                due = min(due, time.monotonic() + SOON)
            _settle(tasks, outcomes[: len(tasks)])
        if database is not None:
            self._take_leave(database)
            database.close()

    def _take_leave(self, database: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            database.execute(f"PRAGMA busy_timeout = {FAREWELL * 1000:.0f}")
            self._set_synced(database, wanted=self._owes_sync)
            with self._transaction(database):
                self._closing(database)

    def _gather(self, tasks: list[_Task]) -> list[_Task]:
        """Add the work that has queued up. A request to close is put back at the end of the queue."""
        while len(tasks) < SHARED:
            try:
                more = self._tasks.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._tasks.put(None)
                break
            tasks += more
        return tasks

    def _open(self) -> sqlite3.Connection:
        folders = make_private(self._path)
        database = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None)
        try:
            # After SQLite has opened it: on an overlay file system, that may copy the file and so change its number.
            self._file = _identify(self._path)
            database.row_factory = sqlite3.Row
            self._use_wal(database)
            self._is_synced = True
            self._set_synced(database, wanted=False)
            database.execute("PRAGMA fullfsync = ON")  # macOS: flushes the disk's own cache too
            database.execute("PRAGMA secure_delete = ON")  # deleted data is overwritten in the file
            database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
            migrate(database, str(self._path))
            # A statement for many rows has temporary data. In memory, they need no folder and leave nothing private.
            database.execute("PRAGMA temp_store = MEMORY")
            self._opened(database)
            for folder in folders:
                sync_folder(folder)
        except BaseException:
            database.close()
            raise
        return database

    def _check_file(self) -> None:
        """Raise JournalError if the path no longer leads to the open file: what is written there, no process finds."""
        if self._file is None:
            return
        try:
            found = _identify(self._path)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError:  # it may still be there
            return
        if found != self._file:
            advice = "put it back, since without it the same jobs are paid again"
            raise JournalError(f"the journal {self._path} was removed or replaced while it was open: {advice}")

    def _set_synced(self, database: sqlite3.Connection, *, wanted: bool) -> None:
        """Set the sync mode. In WAL mode, a commit with FULL puts itself and all earlier commits on the disk."""
        if wanted != self._is_synced:
            database.execute(f"PRAGMA synchronous = {'FULL' if wanted else 'NORMAL'}")
            self._is_synced = wanted

    def _use_wal(self, database: sqlite3.Connection) -> None:
        """Turn on the write-ahead log. Retries, since SQLite does not wait while another process turns the log on."""
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

    def _transact(self, database: sqlite3.Connection, works: list[Work[Any]]) -> list[Outcome]:
        """Do all work in one transaction. If a piece fails, which is rare, repeat each piece in its own savepoint."""
        try:
            with self._transaction(database):
                return _together(database, works)
        except OWN:
            pass
        except sqlite3.OperationalError as error:
            _allow_damage(database, error)
        except sqlite3.Error:
            raise
        except Exception:  # noqa: BLE001, S110 - the repetition below raises the error for its own task
            pass
        try:
            return self._each_apart(database, works)
        except sqlite3.OperationalError as error:
            _allow_damage(database, error)
        return self._each_apart(database, works)

    def _each_apart(self, database: sqlite3.Connection, works: list[Work[Any]]) -> list[Outcome]:
        with self._transaction(database):
            return [self._apart(database, work) for work in works]

    def _apart(self, database: sqlite3.Connection, work: Work[Any]) -> Outcome:
        database.execute("SAVEPOINT work")
        note = self.note
        try:
            outcome: Outcome = work(database), None
        except OWN as error:
            outcome = None, explain(error, self._path, self._busy_timeout)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - the work's own task gets it
            outcome = None, error
        if outcome[1]:
            database.execute("ROLLBACK TO work")
            self.note = note
        database.execute("RELEASE work")
        return outcome

    @contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[None]:
        database.execute("BEGIN IMMEDIATE")
        self.note = None
        try:
            yield
            database.execute("COMMIT")
            note = self.note
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        finally:
            self.note = None
        if note is not None:
            self._committed(note)


def _allow_damage(database: sqlite3.Connection, error: sqlite3.OperationalError) -> None:
    """Read text that is not UTF-8 from now on, so that a damaged row does not hide other rows. Raises other errors."""
    if database.text_factory is not str or "decode to UTF-8" not in str(error):
        raise error
    database.text_factory = _lenient


def _lenient(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def make_private(path: Path) -> list[Path]:
    """Make an empty file that only its owner can read, and missing folders. Returns the folders whose entries changed.

    An existing file or folder is not changed.
    """
    if path.exists():
        return []
    changed = [path.parent]
    for folder in [path.parent, *path.parent.parents]:
        if folder.exists():
            break
        changed.append(folder.parent)
    for folder in reversed(changed[:-1]):
        folder.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
    return changed


def _identify(path: Path) -> tuple[int, int]:
    """The numbers of the file's file system and of the file. No other file has both while this file is open."""
    found = path.stat()
    return found.st_dev, found.st_ino


def is_readable_by_others(path: Path) -> bool:
    """Whether other users of this machine may read the file. False for a missing file, and on Windows."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o044)
    except (OSError, ValueError):  # ValueError: the name has a null byte
        return False


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries. Otherwise a synced file may be missing from its folder after a power cut."""
    with suppress(OSError):  # Windows and some file systems cannot sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def explain(error: Exception, path: Path, waited: float) -> JournalError:  # noqa: PLR0911 - one return for each kind of fault
    """Explain in one line what is wrong with the journal, and what to do."""
    if isinstance(error, JournalError):
        return error
    if isinstance(error, sqlite3.DataError | OverflowError):
        advice = "send files as @file, or give URLs, in place of their contents"
        return TooLargeError(f"the job is too large for the journal {path}, whose limit is 1 GB a job: {advice}")
    another = "name another with --journal (in Python journal=)"
    match getattr(error, "sqlite_errorcode", -1) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return JournalError(f"the journal {path} is held by another process (waited {waited:g} s for it)")
        case sqlite3.SQLITE_READONLY:
            return JournalError(f"the journal {path} is read-only: make it writable, or {another}")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return JournalError(f"the journal {path} is damaged ({error}): move it away, or {another}")
        case sqlite3.SQLITE_FULL:
            return JournalError(f"no space left for the journal {path}")
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return JournalError(f"the journal {path} cannot be used ({text}): {another}")
