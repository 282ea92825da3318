"""The journal in a SQLite file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from replicate_job.clock import Clock, SystemClock
from replicate_job.decoding import decode
from replicate_job.journal.lease import Process, Term
from replicate_job.journal.sql import LEASE, SQLJournal
from replicate_job.journal.sqlite_thread import BUSY_TIMEOUT, SQLiteThread
from replicate_job.journal.store import Database

FORGOTTEN = 24 * 3600.0
"""A holder's row is deleted this many seconds after its lease has ended."""


class SQLiteJournal(SQLJournal):
    """A ``Journal`` in one file. Claims of a dead process of this machine end immediately."""

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

    def _write_term(self, db: Database, term: Term) -> None:
        process = msgspec.json.encode(self._process).decode()
        values = (self._holder, term.until_wall, term.until, process)
        db.execute("INSERT OR REPLACE INTO holders VALUES (?, ?, ?, ?)", values)

    def _forget_holders(self, db: Database) -> None:
        """Delete the rows of holders whose leases have ended by both clocks.

        The monotonic clock decides about leases since the last boot, and the wall clock about earlier leases. So
        deleting these rows never changes the answer of ``_left``.
        """
        over = "lease_until < ? AND boot_until < ? OR lease_until < ?"
        now = self._clock.time()
        db.execute(f"DELETE FROM holders WHERE {over}", (now, self._clock.now(), now - FORGOTTEN))  # noqa: S608 - our own columns

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
        """Seconds until another's lease ends unless it is renewed, measured by this process's own clock.

        The holder's clock may have been wrong, and this machine may have been restarted since.
        """
        now = self._clock.now()
        if self._watched.get(holder, (None, 0.0))[0] != until:
            self._watched[holder] = until, now
        return self.lease - (now - self._watched[holder][1])
