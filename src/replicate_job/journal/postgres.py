"""The journal in PostgreSQL, for any number of machines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import compress
from typing import Self, TypeVar

import msgspec

from replicate_job.clock import Clock, SystemClock
from replicate_job.database import DatabaseURL
from replicate_job.decoding import decode
from replicate_job.errors import BatchCanceledError, JournalError
from replicate_job.journal.entry import BatchEntry, Claim, Entry
from replicate_job.journal.group_commit import GroupCommit
from replicate_job.journal.lease import Process, Term
from replicate_job.journal.news import News, Seen
from replicate_job.journal.postgres_news import Listener, notify
from replicate_job.journal.postgres_schema import check_version, migrate
from replicate_job.journal.postgres_store import PATIENCE, Connection, PostgresStore, check_server, is_of_values
from replicate_job.journal.sql import (
    COLUMNS,
    LEASE,
    RELEASED,
    Made,
    NewJob,
    SQLJournal,
    encode_moment,
    mark_of_row,
)
from replicate_job.journal.store import Database, Work
from replicate_job.wire.prediction import Prediction

NOW = "extract(epoch FROM clock_timestamp())::float8"
WATCHER = "watcher"
"""The name of the role of the process that polls all predictions of a fleet."""
FORGOTTEN = 24 * 3600.0
"""A holder's row is deleted this many seconds after its lease has ended."""
CANCELED, CANCELED_ROW = "canceled", "canceled before it was created"
"""The ``stopped`` reason of a canceled batch, and the problem of its rows that were not created."""
BETWEEN = "attempt %s did not succeed, and the row was canceled before attempt %s"
"""The problem of a row that was canceled before a further attempt."""


def canceled_row(batch: str, key: str) -> str:
    """The problem of a row that was canceled before the job with this key was created."""
    number = key.removeprefix(batch).partition("/")[0].removeprefix("~")
    return BETWEEN % (int(number) - 1, number) if number.isdecimal() else CANCELED_ROW


_INSERT_ALL = (
    f"INSERT INTO jobs ({COLUMNS}) SELECT * FROM unnest(?::text[], ?::text[], ?::text[], ?::text[], ?::text[],"  # noqa: S608 - our own columns
    " ?::text[], ?::text[], ?::float8[], ?::text[], ?::bigint[], ?::bigint[], ?::integer[], ?::text[], ?::text[],"
    " ?::float8[], ?::text[], ?::bigint[], ?::text[], ?::text[], ?::text[]) ON CONFLICT DO NOTHING RETURNING claim"
)
_CREATED_ALL = (
    "UPDATE jobs AS j SET state = v.state, prediction_id = v.id, status = v.status, prediction = v.prediction,"
    " problem = '', holder = CASE WHEN v.state = 'collected' THEN NULL ELSE j.holder END"
    " FROM unnest(?::text[], ?::float8[], ?::bigint[], ?::text[], ?::text[], ?::text[], ?::text[])"
    " AS v (key, claimed_at, fence, state, id, status, prediction)"
    " WHERE j.key = v.key AND j.claimed_at = v.claimed_at AND j.fence = v.fence AND j.prediction_id IS NULL"
    " AND NOT EXISTS (SELECT FROM jobs AS o WHERE o.prediction_id = v.id AND o.api = j.api) RETURNING j.prediction_id"
)
_RELEASE_ALL = (
    f"UPDATE jobs AS j SET {RELEASED} FROM unnest(?::text[], ?::bigint[]) AS v (key, fence)"  # noqa: S608 - our own columns
    " WHERE j.key = v.key AND j.fence = v.fence RETURNING j.key"
)
T = TypeVar("T")


class PostgresJournal(SQLJournal):
    """A ``Journal`` in a database. A process counts as alive while its lease lasts by the database's clock.

    Entering the context raises JournalError if the database does not answer within 3 s or is unsuitable for a journal.
    Later, every method waits up to ``patience`` seconds for a database that cannot be reached.
    """

    kept_batches = "job IS NOT NULL AND over_at IS NULL"  # unfinished batches of a fleet

    def __init__(
        self,
        url: DatabaseURL,
        *,
        lease: float = LEASE,
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
        token: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.url = url
        self._database = PostgresStore(
            url,
            clock,
            self._beat,
            every=lease / 3,
            closing=self._leave,
            committed=self._renewed,
            patience=patience,
        )
        super().__init__(self._database, lease=lease, clock=clock, token=token)
        self._listener = Listener(self._database)
        self._new, self._made = GroupCommit(self._insert_all), GroupCommit(self._write_all)
        self._released = GroupCommit(self._release_all)
        self._writing = set[asyncio.Task[str]]()  # running writes of predictions, also for cancelled tasks

    async def __aenter__(self) -> Self:
        def opened(connection: Connection) -> None:
            if self.url.folder is not None:  # this process starts the server, so it also migrates
                migrate(connection, str(self.url))
            check_version(connection, str(self.url))
            self._read_key(connection)

        try:
            await self._database.open(opened)
        except BaseException:
            await self._database.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._listener.close()
        if self._writing:
            self.hurry()
            await asyncio.wait(self._writing)
        await super().__aexit__(*exc_info)

    def time(self) -> float:
        return self._database.time()

    def hurry(self) -> None:
        self._database.hurry()

    def news(self, name: str) -> AbstractContextManager[News | None]:
        return self._listener.news(name)

    async def seen(self, prediction_id: str, api: str) -> Seen:
        query = (
            f"SELECT EXISTS (SELECT FROM roles WHERE role = ? AND api = ? AND until > {NOW}) AS is_watched,"  # noqa: S608 - our own clock
            " (SELECT prediction FROM jobs WHERE prediction_id = ? AND api = ? AND state IN ('ended', 'collected'))"
            " AS prediction"
        )
        values = (WATCHER, api, prediction_id, api)
        row = await self._database.read(lambda db: db.execute(query, values).fetchone())
        end = decode(row["prediction"], Prediction) if row["prediction"] else None
        return Seen(row["is_watched"], end if end and end.is_terminal else None)

    def _tell_free(self, db: Database, jobs: Iterable[Entry | NewJob]) -> None:
        notify(db, [job.key for job in jobs if job.batch is None])  # no process waits for a batch's row

    def _check_batch(self, db: Database, batch: str | None, key: str) -> None:
        if batch and _canceled(db, [batch]):
            raise BatchCanceledError(canceled_row(batch, key))

    def _begin_batch(self, db: Database, batch: BatchEntry) -> None:
        super()._begin_batch(db, batch)
        db.execute("UPDATE batches SET stopped = '' WHERE id = ? AND stopped = ?", (batch.id, CANCELED))

    @property
    def store(self) -> PostgresStore:
        """The store, which has the fleet's tables too."""
        return self._database

    @property
    def holder(self) -> str:
        """The name of this opening of the journal."""
        return self._holder

    def _claim_new(self, new: NewJob) -> Awaitable[Claim | None]:
        return self._new.add(new, partial(self._undo, new))

    async def _insert_all(self, jobs: Sequence[NewJob]) -> list[Claim | None]:
        """Insert and claim the jobs whose keys have no row yet."""
        entries = [self._entry(new) for new in jobs]
        rows = [self._values(new, entry) for new, entry in zip(jobs, entries, strict=True)]
        columns = [list(column) for column in zip(*rows, strict=True)]

        def work(db: Database) -> list[Claim | None]:
            if _canceled(db, sorted({new.batch for new in jobs if new.batch})):
                return [None] * len(jobs)  # the caller then claims each job alone, and checks its batch
            inserted = {row["claim"] for row in db.execute(_INSERT_ALL, columns)}
            lease = self._hold(db)
            return [
                Claim(entry, 1, lease, intends=True) if mark_of_row(new.mark) in inserted else None
                for new, entry in zip(jobs, entries, strict=True)
            ]

        return await self._run_shared(work, [None] * len(jobs))

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        writing = asyncio.create_task(super().created(claim, prediction, collected=collected))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return await asyncio.shield(writing)  # must finish even if this task is cancelled: the prediction exists

    def _created_plainly(self, found: Made) -> Awaitable[bool] | None:
        return None if found.strips else self._made.add(found)

    async def _write_all(self, found: Sequence[Made]) -> list[bool]:
        """Write the predictions of jobs that have no prediction. Returns whether each prediction was written.

        If two predictions have the same id, only the first is written here.
        """
        first = {each.prediction.id: each for each in reversed(found)}
        columns = [list(column) for column in zip(*(each.values for each in first.values()), strict=True)]

        def work(db: Database) -> list[bool]:
            written = {row["prediction_id"] for row in db.execute(_CREATED_ALL, columns)}
            are_written = [first[each.prediction.id] is each and each.prediction.id in written for each in found]
            self._tell_free(db, (each.claim.entry for each in compress(found, are_written) if each.collected))
            return are_written

        return await self._run_shared(work, [False] * len(found))

    async def release(self, claim: Claim, made: Prediction | None = None) -> None:
        if made:
            await super().release(claim, made)
        else:
            self._let_go(claim)
            await self._released.add(claim)

    async def _release_all(self, claims: Sequence[Claim]) -> list[None]:
        columns = [claim.key for claim in claims], [claim.fence for claim in claims]
        moment = encode_moment(self.moment())

        def work(db: Database) -> None:
            released = {row["key"] for row in db.execute(_RELEASE_ALL, (moment, *columns))}
            self._tell_free(db, (claim.entry for claim in claims if claim.key in released))

        await self._releases.do(work)
        return [None] * len(claims)

    async def _run_shared(self, work: Work[T], otherwise: T) -> T:
        """Run work for many jobs in one transaction.

        If the database refuses a value, returns ``otherwise``. The caller then repeats the work for each job alone, so
        that the value makes only its own job fail.
        """
        try:
            return await self._database.run(work)
        except JournalError as error:
            if is_of_values(error):
                return otherwise
            raise

    def _write_term(self, db: Database, term: Term) -> None:  # noqa: ARG002 - the database's clock is used instead
        db.execute(
            f"INSERT INTO holders (holder, lease_until, process) VALUES (?, {NOW} + ?, ?) ON CONFLICT (holder)"  # noqa: S608 - our own clock
            " DO UPDATE SET lease_until = excluded.lease_until, process = excluded.process",
            (self._holder, self.lease, msgspec.json.encode(self._process).decode()),
        )

    def _forget_holders(self, db: Database) -> None:
        db.execute(f"DELETE FROM holders WHERE lease_until < {NOW} - ?", (FORGOTTEN,))  # noqa: S608 - our own clock

    def _left(self, db: Database, holder: str) -> tuple[float, Process] | None:
        query = f"SELECT lease_until - {NOW} AS seconds, process FROM holders WHERE holder = ?"  # noqa: S608 - our own clock
        row = db.execute(query, (holder,)).fetchone()
        return row and (row["seconds"], decode(row["process"], Process))


def _canceled(db: Database, batches: Sequence[str]) -> bool:
    """Whether one of these batches belongs to a fleet and is canceled.

    The batches are locked, so that none of them can be canceled before the transaction ends. A process that cancels a
    batch waits for that end, and then finds the jobs that the transaction has claimed.
    """
    if not batches:
        return False
    query = "SELECT stopped FROM batches WHERE id = ANY(?::text[]) AND job IS NOT NULL ORDER BY number FOR SHARE"
    return any(row["stopped"] == CANCELED for row in db.execute(query, (list(batches),)).fetchall())


async def migrate_database(url: DatabaseURL) -> tuple[int, int]:
    """Migrate the tables, and return their versions before and after. Raises JournalError."""
    store = PostgresStore(
        url, SystemClock(), lambda _: None, every=60, closing=lambda _: None, committed=lambda _: None
    )

    def opened(connection: Connection) -> tuple[int, int]:
        check_server(connection, str(url))
        return migrate(connection, str(url))

    try:
        return await store.open(opened)
    finally:
        await store.close()
