"""What the batches of a fleet may spend: one account of each in the database, which all workers keep.

An account changes by compare-and-set in one statement. So no lock is held while a worker thinks, and one that dies
between two statements leaves nothing half done: what it has set aside is there under the key of the job.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from replicate_job.job import Job
from replicate_job.journal.entry import decode_job, encode_job
from replicate_job.journal.postgres import PostgresJournal
from replicate_job.journal.store import Database


class Hold(msgspec.Struct, frozen=True):
    """Something is set aside for the job of this ``key``. It has no secrets."""

    key: str
    job: Job


class Held(msgspec.Struct, frozen=True):
    """A hold, and what became of its job: its ``state``, None before there is one.

    ``has_ended``: its prediction has. ``is_wrong``: its row has a problem, and is over with that.
    """

    hold: Hold
    state: str | None
    has_ended: bool
    is_wrong: bool


class Account(msgspec.Struct, frozen=True):
    """A batch's account as it was ``seen``. ``spent`` is by predictions that have ended."""

    spent: Decimal
    held: tuple[Held, ...]
    seen: int


class NewAccount(msgspec.Struct, frozen=True):
    """What a batch's account is to be from its submit on. ``seen`` is of the one before; None: there was none."""

    spent: Decimal
    holds: tuple[Hold, ...]
    seen: int | None


class AccountChangedError(Exception):
    """Raised where a worker has changed the account since it was ``seen``."""


class BudgetTables:
    def __init__(self, journal: PostgresJournal) -> None:
        self._store = journal.store

    async def read(self, batch: str) -> Account | None:
        """The account of the batch of this id; None for one without a limit so far."""
        query = (
            "SELECT h.key, h.job, j.state, j.state IN ('ended', 'collected') IS TRUE AS has_ended,"
            " EXISTS (SELECT FROM batch_rows AS r WHERE r.key = h.key AND r.problem <> '') AS is_wrong"
            " FROM holds AS h LEFT JOIN jobs AS j ON j.key = h.key WHERE h.batch = ?"
        )

        def work(db: Database) -> Account | None:
            found = db.execute("SELECT spent, trips FROM budgets WHERE batch = ?", (batch,)).fetchone()
            if found is None:
                return None
            held = tuple(map(_held, db.execute(query, (batch,)).fetchall()))
            return Account(Decimal(found["spent"]), held, found["trips"])

        return await self._store.read(work)

    async def change(
        self, batch: str, account: Account, spent: Decimal, *, released: Sequence[str], holds: Sequence[Hold]
    ) -> bool:
        """Write what is spent, and what is set aside besides; False where another worker has changed the account."""
        values: tuple[Any, ...] = (str(spent), batch, account.seen, list(released), *_columns(holds))
        return await self._store.run(lambda db: db.execute(_CHANGE, values).fetchone()["n"] > 0)


def open_account(db: Database, batch: str, account: NewAccount) -> None:
    """Write the account of the batch of this id anew. Raises AccountChangedError."""
    query = (
        "INSERT INTO budgets AS b VALUES (?, ?, 1) ON CONFLICT (batch) DO UPDATE SET spent = excluded.spent,"
        " trips = b.trips + 1 WHERE b.trips = ?"
    )
    if not db.execute(query, (batch, str(account.spent), account.seen)).rowcount:
        raise AccountChangedError
    db.execute("DELETE FROM holds WHERE batch = ?", (batch,))
    db.execute(_SET_ASIDE, (batch, *_columns(account.holds)))


_SET_ASIDE = "INSERT INTO holds SELECT ?, * FROM unnest(?::text[], ?::text[])"
_CHANGE = """
WITH b AS (UPDATE budgets SET spent = ?, trips = trips + 1 WHERE batch = ? AND trips = ? RETURNING batch),
     gone AS (DELETE FROM holds USING b WHERE holds.batch = b.batch AND holds.key = ANY(?::text[])),
     new AS (INSERT INTO holds SELECT b.batch, v.* FROM b, unnest(?::text[], ?::text[]) AS v)
SELECT count(*) AS n FROM b
"""


def _columns(holds: Sequence[Hold]) -> list[list[str]]:
    return [[hold.key for hold in holds], [encode_job(hold.job).decode() for hold in holds]]


def _held(row: dict[str, Any]) -> Held:
    return Held(Hold(row["key"], decode_job(row["job"])), row["state"], row["has_ended"], row["is_wrong"])
