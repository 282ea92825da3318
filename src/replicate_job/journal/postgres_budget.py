"""The budgets of a fleet's batches: one account for each batch in the database, which all workers update.

An account is updated by compare-and-set in one statement, so no lock is held while a worker decides. A worker that dies
between two statements leaves a consistent account, since each amount set aside is stored with the key of its job.
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
    """An amount that is set aside for the job with this ``key``. ``job`` is without secrets."""

    key: str
    job: Job


class Held(msgspec.Struct, frozen=True):
    """A hold with the ``state`` of its job, which is None until the job is claimed.

    ``has_ended``: the job's prediction has ended. ``is_wrong``: the job's row has a problem, so it gets no prediction.
    """

    hold: Hold
    state: str | None
    has_ended: bool
    is_wrong: bool


class Account(msgspec.Struct, frozen=True):
    """A batch's account. ``spent`` is the cost of ended predictions (USD). ``held`` are the amounts set aside.

    ``seen`` is the account's version number.
    """

    spent: Decimal
    held: tuple[Held, ...]
    seen: int


class NewAccount(msgspec.Struct, frozen=True):
    """The account that a batch gets at its submission.

    ``seen`` is the version number of the account that it replaces, None if the batch had no account.
    """

    spent: Decimal
    holds: tuple[Hold, ...]
    seen: int | None


class AccountChangedError(Exception):
    """Another process has changed the account since this process read it."""


class BudgetTables:
    def __init__(self, journal: PostgresJournal) -> None:
        self._store = journal.store

    async def read(self, batch: str) -> Account | None:
        """The account of the batch with this id. None if the batch has no budget so far."""
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
        """Write the cost, delete the holds with the ``released`` keys, and add ``holds``.

        Returns False, and changes nothing, if another process has changed the account since ``account`` was read.
        """
        values: tuple[Any, ...] = (str(spent), batch, account.seen, list(released), *_columns(holds))
        return await self._store.run(lambda db: db.execute(_CHANGE, values).fetchone()["n"] > 0)


def open_account(db: Database, batch: str, account: NewAccount) -> None:
    """Replace the account of the batch with this id. Raises AccountChangedError."""
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
