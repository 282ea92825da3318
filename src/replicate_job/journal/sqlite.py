"""The journal in a SQLite file."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.clock import Clock, SystemClock
from replicate_job.decoding import decode
from replicate_job.journal.entry import LONGEST_REQUEST, Claim
from replicate_job.journal.lease import Process, Term
from replicate_job.journal.sql import INSERT, LEASE, Made, NewJob, SQLJournal, mark_of_row, write_created
from replicate_job.journal.sqlite_thread import BUSY_TIMEOUT, GroupWork, SQLiteThread
from replicate_job.journal.store import Database

FORGOTTEN = 24 * 3600.0
"""A holder's row is deleted this many seconds after its lease has ended."""

MOST = 64
"""The most rows in a statement."""
LARGE = 65536
"""The most characters of a job, of its request or of its prediction in a statement for many rows.

Larger values are written alone, since SQLite keeps several copies of all rows until the statement ends.
"""

_CREATED = (
    "UPDATE jobs SET state = v.column4, prediction_id = v.column5, status = v.column6, prediction = v.column7,"
    " problem = '', holder = CASE WHEN v.column4 = 'collected' THEN NULL ELSE holder END FROM (VALUES %s) AS v"
    " WHERE key = v.column1 AND claimed_at = v.column2 AND fence = v.column3 AND prediction_id IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM jobs AS o WHERE o.prediction_id = v.column5 AND o.api = jobs.api)"
)


class SQLiteJournal(SQLJournal):
    """A ``Journal`` in one file. If a process on this machine dies, its claims end immediately."""

    def __init__(
        self,
        path: Path,
        *,
        lease: float = LEASE,
        busy_timeout: float = BUSY_TIMEOUT,
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
        token: str | None = None,
    ) -> None:
        self.path = path
        self._watched: dict[str, tuple[float | None, float]] = {}
        thread = SQLiteThread(
            path,
            self._beat,
            every=lease / 3,
            busy_timeout=busy_timeout,
            opened=self._read_key,
            closing=self._leave,
            committed=self._renewed,
        )
        super().__init__(thread, lease=lease, clock=clock, token=token)

    def time(self) -> float:
        return self._clock.time()

    def _claim_new(self, new: NewJob) -> Awaitable[Claim | None] | None:
        if len(new.encoded) > LARGE or (new.request and len(new.request.body) > LARGE):
            return None
        return self._store.run(GroupWork(self._insert_all, new), sync="now", undo=partial(self._undo, new))

    def _insert_all(self, db: Database, jobs: Sequence[NewJob]) -> list[Claim | None]:
        """Insert and claim the jobs whose keys have no row yet."""
        entries = [self._entry(new) for new in jobs]
        inserted = 0
        for part in _parts([self._values(new, entry) for new, entry in zip(jobs, entries, strict=True)]):
            query = INSERT % _marks(len(part), len(part[0]))
            inserted += db.execute(query, list(chain.from_iterable(part))).rowcount
        lease = self._hold(db)
        return [
            Claim(entry, 1, lease, intends=True) if inserted == len(jobs) or _has_claim(db, new) else None
            for new, entry in zip(jobs, entries, strict=True)
        ]

    def _created_plainly(self, found: Made) -> Awaitable[bool] | None:
        if found.strips or len(found.encoded) > LARGE:
            return None
        return self._store.run(GroupWork(_write_all, found), sync=found.sync)

    def _write_term(self, db: Database, term: Term) -> None:
        process = msgspec.json.encode(self._process).decode()
        values = (self._holder, term.until_wall, term.until, process)
        db.execute("INSERT OR REPLACE INTO holders VALUES (?, ?, ?, ?)", values)

    def _forget_holders(self, db: Database) -> None:
        """Delete the rows of holders whose leases and requests have ended by both clocks.

        The monotonic clock decides about leases since the last boot, and the wall clock about earlier leases. So
        deleting these rows never changes the answer of ``_left``. Until the end of its last request, the row tells that
        a process has died.
        """
        over = "lease_until < ? AND boot_until < ? OR lease_until < ?"
        now = self._clock.time()
        ends = now - LONGEST_REQUEST, self._clock.now() - LONGEST_REQUEST, now - FORGOTTEN
        db.execute(f"DELETE FROM holders WHERE {over}", ends)  # noqa: S608 - our own columns

    def _left(self, db: Database, holder: str) -> tuple[float, Process] | None:
        row = db.execute("SELECT * FROM holders WHERE holder = ?", (holder,)).fetchone()
        if row is None:
            return None
        process = decode(row["process"], Process)
        if self._process.is_dead(process):
            return 0.0, process
        if process.boot and process.boot == self._process.boot:
            return row["boot_until"] - self._clock.now(), process
        return min(row["lease_until"] - self._clock.time(), self._watch(holder, row["lease_until"])), process

    def _watch(self, holder: str, until: float) -> float:
        """Seconds until the holder's lease ends unless it is renewed, measured by this process's own clock.

        The holder's clock may have been wrong, and this machine may have been restarted since.
        """
        now = self._clock.now()
        if self._watched.get(holder, (None, 0.0))[0] != until:
            self._watched[holder] = until, now
        return self.lease - (now - self._watched[holder][1])


def _write_all(db: Database, found: Sequence[Made]) -> list[bool]:
    """Write the predictions of jobs that have no prediction. Returns whether each job then has this prediction."""
    if len(found) == 1:  # SQLite prepares a statement for one row in half the time
        made = found[0]
        is_written = write_created(db, made.claim, made.prediction, made.encoded, collected=made.collected)
        return [is_written or _has_prediction(db, made)]
    written = 0
    for part in _parts([made.values for made in found]):
        query = _CREATED % _marks(len(part), len(part[0]))
        written += db.execute(query, list(chain.from_iterable(part))).rowcount
    return [written == len(found) or _has_prediction(db, made) for made in found]


def _parts(rows: list[Any]) -> Iterator[list[Any]]:
    """Split the rows into lists. A list has one of twenty possible lengths, so SQLite has to prepare few statements."""
    start = 0
    while left := len(rows) - start:
        size = min(MOST, left & -1 << max(0, left.bit_length() - 3))  # ``left`` with only its three highest bits
        yield rows[start : start + size]
        start += size


@cache
def _marks(rows: int, columns: int) -> str:
    return ",".join([f"({','.join('?' * columns)})"] * rows)


def _has_claim(db: Database, new: NewJob) -> bool:
    row = db.execute("SELECT claim FROM jobs WHERE key = ?", (new.key,)).fetchone()
    return row is not None and row["claim"] == mark_of_row(new.mark)


def _has_prediction(db: Database, made: Made) -> bool:
    query = "SELECT prediction_id, claimed_at, fence, state FROM jobs WHERE key = ?"
    row = db.execute(query, (made.claim.key,)).fetchone()
    wanted = made.prediction.id, made.claim.entry.claimed_at, made.claim.fence, made.state
    return row is not None and tuple(row) == wanted
