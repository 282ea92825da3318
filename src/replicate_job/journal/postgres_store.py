"""Runs transactions in PostgreSQL, in a few threads with a connection each. A broken connection causes a retry."""

from __future__ import annotations

import asyncio
import math
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import RowMaker, dict_row

from replicate_job.clock import Clock
from replicate_job.database import DatabaseURL
from replicate_job.errors import JournalError
from replicate_job.forks import Owner
from replicate_job.journal.postgres_schema import SCHEMA
from replicate_job.journal.store import Rows, Sync, Undo, Work

THREADS = 8
"""The most connections of a journal, besides the heartbeat's connection. Connections are opened when needed."""
FIRST_CONNECT = 3
"""Seconds for the first connection. The limit is short, since the address may be wrong."""
CONNECT = 5
"""Seconds for each later connection."""
PATIENCE = 60.0
"""Seconds for which a transaction is retried while PostgreSQL cannot be reached, or other transactions conflict."""
HURRY = 3.0
"""Seconds for which a transaction is retried if the process is about to end."""
ANSWER = 2.0
"""Additional seconds of an ending process for a server that accepts data but does not answer."""
FAREWELL = 1.0
"""Seconds for the last writes of a closing journal."""
OLDEST = 14
"""The oldest supported major version of PostgreSQL."""
_LONGEST_PAUSE = 1.0
_IN_THE_WAY = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation)
"""Conflicts with another transaction. Of two equal inserts, one gets UniqueViolation, and finds the row on its
retry."""
_OF_VALUES = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    psycopg.errors.ProgramLimitExceeded,
)
"""Errors about one value, which must not make other values in the same transaction fail."""
_ESCAPE = "␀"
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
"""A transaction sees one state, and fails if another transaction has written the same row since. A unique index guards
a rule over several rows, such as one job for each prediction. With SERIALIZABLE, a third of all transactions failed
only because they touched the same index page."""
_SAME = 20
"""The number of retries after UniqueViolation. After that the cause is a faulty statement, and not a race."""
_SESSION = (
    f"SET search_path = {SCHEMA}",
    "SET idle_in_transaction_session_timeout = '5s'",  # a stopped process must not keep locks for which others wait
    "SET default_transaction_isolation = 'read committed'",
    # Commits must be on the disk, even if the server's default is off.
    "SELECT set_config(name, 'on', false) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'",
)
_REFUSALS = (
    ("authentication failed", "are the user and the password right?"),
    ("no password supplied", "add it to the URL, or name a file with it in PGPASSFILE"),
    ("role .* does not exist", "is the user right?"),
    ("database .* does not exist", "is its name right, and was it created?"),
)
"""Patterns of server messages, and the advice for each, since libpq has no error codes for failed connections."""
_POOL_PROBES = 10
"""The number of times that two connections are compared behind a pool. A transaction pool soon mixes their sessions."""
_FACTS = """
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS release,
       current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synced, pg_is_in_recovery() AS is_replica,
       pg_backend_pid() AS session
"""

if TYPE_CHECKING:
    from replicate_job.journal.postgres_local import LocalServer

T = TypeVar("T")
Connection = psycopg.Connection[dict[str, Any]]


class _Transaction:
    """A connection inside a transaction, with the interface that all databases share."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows:
        return self._connection.execute(_translate(sql), [_storable(value) for value in values])

    def copy(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run ``COPY … FROM STDIN`` with these rows."""
        with self._connection.cursor().copy(sql.encode()) as copy:
            for row in rows:
                copy.write_row([_storable(value) for value in row])


@cache
def _translate(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def _storable(value: Any) -> Any:
    """Escape U+0000, which PostgreSQL's text cannot contain. Ids are from API responses, and may have any character."""
    if isinstance(value, str) and ("\0" in value or _ESCAPE in value):
        return value.replace(_ESCAPE, _ESCAPE * 2).replace("\0", f"{_ESCAPE}0")
    return [_storable(item) for item in value] if isinstance(value, list) else value


def _rows(cursor: psycopg.Cursor[Any]) -> RowMaker[dict[str, Any]]:
    """Make rows as dicts by column name. Values that ``_storable`` has escaped are restored."""
    make = dict_row(cursor)

    def row(values: Sequence[Any]) -> dict[str, Any]:
        return make([_stored(value) if isinstance(value, str) and _ESCAPE in value else value for value in values])

    return row


def _stored(text: str) -> str:
    return re.sub(f"{_ESCAPE}(.)", lambda found: "\0" if found[1] == "0" else _ESCAPE, text)


class _Task:
    __slots__ = ("done", "loop", "over", "run")

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run, self.loop = run, asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self.loop.create_future()
        self.over = asyncio.Event()

    def settle(self, value: Any, error: BaseException | None) -> None:
        self.over.set()
        if self.done.done():
            return
        if error is None:
            self.done.set_result(value)
        else:
            self.done.set_exception(error)


class PostgresStore:
    """Runs work in transactions, which are retried after conflicts and while PostgreSQL cannot be reached.

    ``beat`` is called every ``every`` seconds while ``beats`` is true, from a thread of its own. ``closing`` is run
    when the store is closed. ``committed`` is called with the note of a committed transaction, from any thread.
    """

    def __init__(  # noqa: PLR0913 - the database, and the callbacks of the journal
        self,
        url: DatabaseURL,
        clock: Clock,
        beat: Work[None],
        *,
        every: float,
        closing: Work[None],
        committed: Callable[[Any], None],
        patience: float = PATIENCE,
    ) -> None:
        self._url, self._clock, self._patience = url, clock, patience
        self._server: LocalServer | None = None
        self._beat, self._every, self.beats = beat, every, False
        self._closing, self._committed = closing, committed
        self._own = threading.local()  # each thread's connection and transaction
        self._offset = 0.0
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._heart: threading.Thread | None = None
        self._is_over, self._is_closed = threading.Event(), False
        self._open: set[_Task] = set()  # the tasks that have no outcome yet
        self._deadline = math.inf
        self._is_silent = False  # the server accepts data but does not answer
        self._owner = Owner()

    @property
    def note(self) -> Any:
        return getattr(self._own, "note", None)

    @note.setter
    def note(self, note: Any) -> None:
        self._own.note = note

    @property
    def may_be_done(self) -> bool:
        return getattr(self._own, "may_be_done", False)

    @property
    def url(self) -> DatabaseURL:
        return self._url

    def address(self) -> str:
        """The address for PostgreSQL's own library, with the password."""
        return self._server.address() if self._server else self._url.reveal()

    def time(self) -> float:
        """Unix time by the database's clock."""
        return self._clock.now() + self._offset

    async def open(self, opened: Callable[[Connection], T]) -> T:
        """Connect, check the server, and call ``opened``. Raises JournalError after some seconds without an answer."""

        def first() -> T:
            if self._url.folder is not None:
                from replicate_job.journal.postgres_local import LocalServer  # noqa: PLC0415 - an extra

                self._server = LocalServer(self._url.folder)
                self._server.open()
            connection = self._connect(FIRST_CONNECT)
            self._check_pool(connection, check_server(connection, str(self._url)))
            return opened(connection)

        allowed = FIRST_CONNECT + 1 if self._url.folder is None else None  # looking up the host may be slow too
        try:
            async with asyncio.timeout(allowed):
                result = await self._submit(lambda: self._explained(first))
        except TimeoutError:
            self._threads = []  # `close` must not wait for the stuck thread
            raise JournalError(unreachable(self._url, f"no answer for {FIRST_CONNECT} s")) from None
        self._heart = threading.Thread(target=self._beat_on, name="journal heartbeat", daemon=True)
        self._heart.start()
        return result

    async def run(self, work: Work[T], *, sync: Sync | None = None, undo: Undo | None = None) -> T:  # noqa: ARG002 - every commit is synced
        return await self._submit(lambda: self._explained(lambda: self._insist(work, self._patience)), undo)

    async def read(self, work: Work[T]) -> T:
        """Run work without a transaction. Each statement sees all earlier commits, and cannot have conflicts."""
        return await self._submit(lambda: self._explained(lambda: self._insist(work, self._patience, reads=True)))

    async def vacuum(self) -> None:
        """Do nothing: PostgreSQL vacuums by itself."""

    def hurry(self, seconds: float = HURRY) -> None:
        """From now on, wait only this many seconds in all for an unreachable database: the process is about to end."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        for task in self._open:
            self._bound(task)

    def _bound(self, task: _Task) -> None:
        """Fail the task if it gets no answer soon after the deadline that ``hurry`` has set.

        While the server is silent, the task fails immediately, since the threads of earlier tasks may be stuck.
        """
        seconds = 0.0 if self._is_silent else max(0.0, self._deadline - time.monotonic()) + ANSWER
        task.loop.call_later(seconds, self._give_up, task)

    def _give_up(self, task: _Task) -> None:
        if not task.done.done():
            self._is_silent = True
            task.settle(None, JournalError(unreachable(self._url, "no answer")))

    async def close(self) -> None:
        self._is_over.set()
        self.hurry(FAREWELL)
        if self._heart:
            with suppress(JournalError):
                farewell = lambda: self._explained(lambda: self._insist(self._closing, FAREWELL))  # noqa: E731
                await self._submit(farewell)
        self._is_closed = True  # earlier tasks are still run
        for _ in self._threads:
            self._tasks.put(None)
        threads = [*self._threads, *([self._heart] if self._heart else [])]
        until = time.monotonic() + FAREWELL
        for thread in threads:
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))
        self._threads, self._heart = [], None
        if self._server:
            await asyncio.to_thread(self._server.close)

    async def _submit(self, run: Callable[[], T], undo: Undo | None = None) -> T:
        self._owner.check()
        if self._is_closed:
            raise JournalError(f"the journal {self._url} is closed")
        task = _Task(run)
        self._open.add(task)
        if self._deadline < math.inf:
            self._bound(task)
        if len(self._open) > len(self._threads) < THREADS:
            # Daemon threads let a second Ctrl-C end the process while they wait for the database.
            thread = threading.Thread(target=self._serve, name="journal", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._tasks.put(task)
        try:
            result: T = await task.done
            self._is_silent = False
        except asyncio.CancelledError:
            if undo:
                with suppress(JournalError):
                    await asyncio.shield(self._undo(task, undo))
            raise
        finally:
            self._open.discard(task)
        return result

    async def _undo(self, task: _Task, undo: Undo) -> None:
        await task.over.wait()
        await undo()

    def _serve(self) -> None:
        while task := self._tasks.get():
            value, error = None, None
            try:
                value = task.run()
            except Exception as failure:  # noqa: BLE001 - the waiting task gets every error
                error = failure
            with suppress(RuntimeError):  # the loop was closed, so no task waits any more
                task.loop.call_soon_threadsafe(task.settle, value, error)
        self._disconnect()

    def _beat_on(self) -> None:
        while not self._is_over.wait(self._every):
            if self.beats:
                with suppress(psycopg.Error, JournalError):
                    self._insist(self._beat, self._every)
        self._disconnect()

    def _explained(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except psycopg.Error as error:
            raise explain(error, self._url) from None

    def _check_pool(self, connection: Connection, session: int) -> None:
        """Raise JournalError if the connection goes through a transaction pool.

        Such a pool changes sessions, so the settings of a session would be lost. ``session`` is the process id of the
        session according to the server.
        """
        if connection.info.backend_pid == session:
            return  # connected without a pool
        other = connect(self.address(), self._url, FIRST_CONNECT)
        try:
            sessions = [(_session(connection), _session(other)) for _ in range(_POOL_PROBES)]
        finally:
            other.close()
        if any(own == others for own, others in sessions) or len(set(sessions)) > 1:
            raise JournalError(
                f"the journal {self._url} is behind a pool of transactions, which loses a session's settings: set "
                "pool_mode = session in PgBouncer, or name PostgreSQL's own address"
            )

    def _insist(self, work: Work[T], patience: float, *, reads: bool = False) -> T:
        """Retry for ``patience`` seconds until the work is committed.

        Raises psycopg's error after that time, or immediately if no retry can help.
        """
        until, tries = time.monotonic() + patience, 0
        self._own.may_be_done = False
        while True:
            tries += 1
            try:
                return self._read(work) if reads else self._transact(work)
            except psycopg.Error as error:
                is_broken = self._is_broken(error)
                self._disconnect() if is_broken else self._roll_back()
                is_in_the_way = isinstance(error, _IN_THE_WAY) and (
                    tries < _SAME or not isinstance(error, psycopg.errors.UniqueViolation)
                )
                latest = until if is_in_the_way else min(until, self._deadline)
                if not (is_broken or is_in_the_way) or time.monotonic() >= latest:
                    raise
                pause = min(0.002 * 2 ** min(tries, 10), 0.1 if is_in_the_way else _LONGEST_PAUSE)
                time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - random against further conflicts
            except BaseException:
                self._roll_back()
                raise

    def _read(self, work: Work[T]) -> T:
        return work(_Transaction(self._connection()))

    def _transact(self, work: Work[T]) -> T:
        connection = self._connection()
        self.note = None
        try:
            connection.execute(_BEGIN)
            value = work(_Transaction(connection))
            try:
                connection.execute("COMMIT")
            except psycopg.Error as error:
                self._own.may_be_done = self.may_be_done or self._is_broken(error)
                raise
            note = self.note
        finally:
            self.note = None
        if note is not None:
            self._committed(note)
        return value

    def _is_broken(self, error: psycopg.Error) -> bool:
        """Whether the connection is unusable: closed, or to a server that has become a replica."""
        connection: Connection | None = getattr(self._own, "connection", None)
        is_replica = isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
        return connection is None or connection.closed or is_replica

    def _roll_back(self) -> None:
        """Roll back the transaction. If that fails, close the connection."""
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            return
        try:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            self._disconnect()

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._own, "connection", None)
        left = max(0.0, min(CONNECT, self._deadline - time.monotonic()))
        return self._connect(math.ceil(left) or 1) if connection is None else connection

    def _connect(self, seconds: int) -> Connection:
        """Connect this thread, and read the database's clock."""
        connection = self._own.connection = connect(self.address(), self._url, seconds)
        before = self._clock.now()
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8 AS now").fetchone()
        if row:
            self._offset = row["now"] - (before + self._clock.now()) / 2
        return connection

    def _disconnect(self) -> None:
        connection: Connection | None = getattr(self._own, "connection", None)
        self._own.connection = None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


def connect(address: str, url: DatabaseURL, seconds: int) -> Connection:
    """Connect within ``seconds`` seconds, and set the session up.

    Raises psycopg's errors, and JournalError for an unknown option in the address.
    """
    try:
        found = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:  # the error's message would show the address with the password
        raise JournalError(f"the journal's URL {url} cannot be read: it has an option that PostgreSQL lacks") from None
    usual = {"tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}
    options: dict[str, Any] = {"application_name": "replicate-job", **usual, **found, "connect_timeout": seconds}
    connection: Connection = psycopg.connect(**options, autocommit=True, row_factory=_rows)
    try:
        for statement in _SESSION:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _session(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid() AS number", prepare=False).fetchone()
    assert row  # noqa: S101 - for the type checker: the query always returns a row
    return int(row["number"])


def check_server(connection: Connection, name: str) -> int:
    """Raise JournalError for a server that is unsuitable for a journal. Returns the session's process id."""
    facts = connection.execute(_FACTS).fetchone() or {}
    if facts["version"] < OLDEST * 10_000:
        raise JournalError(f"the journal {name} is on PostgreSQL {facts['release']}: it takes {OLDEST} or later")
    if facts["encoding"] != "UTF8":
        fault, advice = f"has the encoding {facts['encoding']}", "create a database with ENCODING 'UTF8'"
    elif facts["fsync"] != "on":
        fault, advice = "is on a server with fsync = off, which loses jobs in a power cut", "turn it on"
    elif facts["synced"] == "off":
        fault, advice = f"has synchronous_commit = {facts['synced']}, which loses jobs in a crash", "set it to on"
    elif facts["is_replica"]:
        fault, advice = "is on a replica, which takes no writes", "name the primary server"
    else:
        return int(facts["session"])
    raise JournalError(f"the journal {name} {fault}: {advice}")


def unreachable(url: DatabaseURL, why: str) -> str:
    running = "is PostgreSQL running there, and is the address right?"
    advice = next((advice for pattern, advice in _REFUSALS if re.search(pattern, why)), running)
    return f"the journal {url} cannot be reached ({why}): {advice}"


def explain(error: psycopg.Error, url: DatabaseURL) -> JournalError:
    """Explain in one line what is wrong with the journal, and what to do."""
    text = error.diag.message_primary or next(iter(str(error).splitlines()), "") or type(error).__name__
    text = text.rpartition("failed: ")[2].removeprefix("FATAL:").strip()
    match error:
        case psycopg.errors.DiskFull():
            return JournalError(f"no space left for the journal {url}")
        case psycopg.errors.InsufficientPrivilege():
            return JournalError(f"the journal {url} cannot be used ({text}): grant its user the schema {SCHEMA}")
        case psycopg.errors.DataError() | psycopg.errors.ProgramLimitExceeded():
            return JournalError(f"the journal {url} does not take this ({text})")
        case psycopg.OperationalError() if error.sqlstate is None or error.sqlstate.startswith(
            ("08", "28", "57", "3D")
        ):
            return JournalError(unreachable(url, text))
    return JournalError(f"the journal {url} cannot be used ({text})")


def is_of_values(error: JournalError) -> bool:
    """Whether an error from ``explain`` is about a written value, and not about the database."""
    return isinstance(error.__context__, _OF_VALUES)
