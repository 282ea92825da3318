"""Submits a batch to the journal. Rows are written in many transactions, and the last transaction makes the batch.

Until then the rows belong to a draft, a batch without an API, which no worker sees. If the submitting process dies, its
draft stays, and a later submission deletes the draft.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self
from uuid import uuid4

import msgspec

from replicate_job.errors import JournalError
from replicate_job.journal.entry import BatchEntry
from replicate_job.journal.postgres import NOW
from replicate_job.journal.postgres_budget import NewAccount, open_account
from replicate_job.journal.postgres_queue import CHUNK, defer_rows
from replicate_job.journal.postgres_store import PostgresStore

MANY = 5000
"""After a submission of at least this many rows, PostgreSQL's statistics are updated."""
HELD, HELD_BYTES = 5000, 4 * 1024**2
"""The most rows, and the most bytes of encoded jobs, in one transaction. At most twice as many are in memory."""
LEFT = 24 * 3600.0
"""A draft is a batch whose rows are still being submitted. After this many seconds without a new row, the
draft's process counts as dead, and the next submission deletes the draft."""


class Combination(msgspec.Struct, frozen=True):
    """A row of a batch with a grid: the row's line in the source, and the values of its combination, by name."""

    line: int
    grid: dict[str, Any]


class NewRow(msgspec.Struct, frozen=True):
    """A row to submit. ``line`` is the row's line in the source, or in a batch with a grid its number.

    ``job`` is the encoded job. ``problem`` is the reason why the job is not created. ``reused``: the row uses the job
    of another row, or an earlier result. ``is_open``: the row may get further jobs, whose keys all contain ``name``.
    """

    line: int
    key: str
    job: bytes
    problem: str = ""
    combination: Combination | None = None
    name: str = ""
    reused: bool = False
    is_open: bool = False


class BatchFacts(msgspec.Struct, frozen=True):
    """The stored values of a batch, without its rows. ``job``, ``model`` and ``plan`` are encoded as JSON.

    ``rate`` is in create requests a second, None for no limit. ``depot`` is the place of the rows' input files, None
    without input files. ``trace`` continues the submitter's trace (see ``Telemetry``). ``plan`` says which jobs follow
    a row's first job; it is empty for most batches.
    """

    entry: BatchEntry
    job: bytes
    save: str | None
    rate: float | None
    secrets: tuple[str, ...]
    model: bytes
    depot: str | None = None
    trace: str = ""
    plan: bytes = b""


class Submission:
    """Writes the rows of one batch, which ``add`` takes in the order of their lines. ``finish`` makes the batch.

    ``size`` is the number of rows in a task.
    """

    def __init__(self, store: PostgresStore, size: int = CHUNK) -> None:
        self._store, self._size = store, size
        self._draft, self.rows = 0, 0
        self._parts: list[tuple[int, int]] = []  # the first and last line of each task
        self._is_open = False  # the last task has a row to create
        self._held: list[tuple[Any, ...]] = []
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        name = f"draft-{uuid4().hex}"

        def work(db: Any) -> int:
            db.execute(f"DELETE FROM batches WHERE api = '' AND started_at < {NOW} - ?", (LEFT,))
            begun = db.execute(
                f"INSERT INTO batches (id, api, source, command, started_at) VALUES (?, '', '', '', {NOW})"
                " ON CONFLICT (id) DO UPDATE SET started_at = excluded.started_at RETURNING number",
                (name,),
            )
            return int(begun.fetchone()["number"])

        def forget(db: Any) -> None:
            db.execute("DELETE FROM batches WHERE id = ? AND api = ''", (name,))

        self._draft = await self._store.run(work, undo=lambda: self._store.run(forget))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Delete an unfinished draft."""
        if self._writing:
            await asyncio.wait([self._writing])
        if self._draft:
            query = "DELETE FROM batches WHERE number = ? AND api = ''"
            with suppress(JournalError):
                await asyncio.shield(self._store.run(lambda db: db.execute(query, (self._draft,)).rowcount))

    async def add(self, rows: Sequence[NewRow]) -> None:
        """Take these rows. They are written in the background. A later call raises the error of a failed write."""
        for row in rows:
            self._held.append(self._line(row))
            self._bytes += len(row.job)
        if len(self._held) >= HELD or self._bytes >= HELD_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        await self._written()
        lines, self._held, self._bytes = self._held, [], 0
        self._writing = asyncio.create_task(self._write(lines))

    async def _written(self) -> None:
        if self._writing:
            writing, self._writing = self._writing, None
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                self._writing = writing
                raise

    def _line(self, row: NewRow) -> tuple[Any, ...]:
        if self.rows % self._size == 0:
            self._close_task()
            self._parts.append((row.line, row.line))
        first, _ = self._parts[-1]
        self._parts[-1] = first, row.line
        self._is_open = self._is_open or not row.problem
        self.rows += 1
        which = msgspec.json.encode(row.combination).decode() if row.combination else None
        more = which, row.name, row.reused, row.is_open
        return self._draft, row.line, first, row.key, row.job.decode(), row.problem, *more

    def _close_task(self) -> None:
        """Drop the last task if all its rows have problems."""
        if self._parts and not self._is_open:
            self._parts.pop()
        self._is_open = False

    async def _write(self, lines: Sequence[tuple[Any, ...]]) -> None:
        def work(db: Any) -> None:
            self._touch(db)
            if self._store.may_be_done:
                span = (self._draft, lines[0][1], lines[-1][1])
                db.execute("DELETE FROM batch_rows WHERE batch = ? AND line BETWEEN ? AND ?", span)
            columns = "batch, line, chunk, key, job, problem, combination, name, reused, is_open"
            db.copy(f"COPY batch_rows ({columns}) FROM STDIN", lines)

        await self._store.run(work)

    def _touch(self, db: Any) -> None:
        """Update the draft's time, so that the draft does not count as the draft of a dead process."""
        query = f"UPDATE batches SET started_at = {NOW} WHERE number = ? AND api = ''"
        if not db.execute(query, (self._draft,)).rowcount:
            raise JournalError("the rows that were written so far have been pruned meanwhile: submit them again")

    def _has_draft(self, db: Any) -> bool:
        query = "SELECT 1 AS is_there FROM batches WHERE number = ? AND api = ''"
        return db.execute(query, (self._draft,)).fetchone() is not None

    async def finish(self, facts: BatchFacts, account: NewAccount | None = None) -> int:
        """Make a batch of the rows, with its tasks and its account, and return the batch's number.

        If a batch with this id exists, its rows are replaced, and its finished jobs stay. Raises AccountChangedError
        if a worker has changed the account meanwhile. Then ``finish`` may be called again.
        """
        if self._held:
            await self._flush()
        await self._written()
        number = await self._store.run(lambda db: self._finish(db, facts, account))
        self._draft = 0
        if self.rows >= MANY:  # autovacuum is too late: until then, upkeep would read all tasks for each row
            await self._store.run(lambda db: db.execute("ANALYZE batch_rows, procrastinate_jobs").rowcount)
        return number

    def _finish(self, db: Any, facts: BatchFacts, account: NewAccount | None) -> int:
        entry, draft = facts.entry, self._draft
        # As in every transaction, the batch is locked before its rows.
        known = db.execute("SELECT number FROM batches WHERE id = ? FOR NO KEY UPDATE", (entry.id,)).fetchone()
        if known and self._store.may_be_done and not self._has_draft(db):  # an earlier try was committed
            return int(known["number"])
        self._touch(db)
        number = int(known["number"]) if known else draft
        if known:
            db.execute("DELETE FROM batch_rows WHERE batch = ?", (number,))
            db.execute("UPDATE batch_rows SET batch = ? WHERE batch = ?", (number, draft))
            db.execute("DELETE FROM batches WHERE number = ?", (draft,))
        else:
            query = "UPDATE batches SET id = ?, api = ?, source = ? WHERE number = ?"
            db.execute(query, (entry.id, entry.api, entry.source, number))
        db.execute(
            f"UPDATE batches SET started_at = {NOW}, stopped = '', over_at = NULL, command = ?, job = ?, save = ?,"
            " rate = ?, secrets = ?, model = ?, depot = ?, trace = ?, plan = ? WHERE number = ?",
            (
                *(entry.command, facts.job.decode(), facts.save, facts.rate),
                *(msgspec.json.encode(facts.secrets).decode(), facts.model.decode(), facts.depot, facts.trace),
                *(facts.plan.decode() or None, number),
            ),
        )
        if account:
            open_account(db, entry.id, account)
        defer_rows(db, entry.api, number, self._parts if self._is_open else self._parts[:-1])
        return number
