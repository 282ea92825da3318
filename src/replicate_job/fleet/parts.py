"""What a process of a fleet works with: the session, the fleet's tables, and each batch's model."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager

import msgspec

from replicate_job.batches.progress import Tally
from replicate_job.batches.runner import PACED
from replicate_job.batches.strategy import RowStrategy
from replicate_job.decoding import decode
from replicate_job.errors import JobError, JournalError
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.journal.postgres_fleet import FleetBatch, FleetTables
from replicate_job.wire.target import parse_target


class RowContext(msgspec.Struct, frozen=True):
    """The context of a batch's rows, and its model. ``trace`` is the submitter's."""

    context: Context
    strategy: RowStrategy
    resolved: Resolved
    model: str
    trace: str

    def part(self, key: str) -> AbstractContextManager[None]:
        """What this process does of a row's job, to be entered: its spans belong to the submitter's trace."""
        return self.context.telemetry.part(self.model, key, self.strategy.batch, self.trace)


SENDING = 8
"""Rows whose files are sent to the API at the same time: a file is in memory meanwhile."""


class Fleet:
    """``draining`` is set once this process is to take up nothing more. ``sending`` is room for rows with files."""

    def __init__(self, context: Context, tables: FleetTables) -> None:
        retry_policy = msgspec.structs.replace(context.retry_policy, **PACED)
        self.context = msgspec.structs.replace(context, retry_policy=retry_policy)
        self.tables, self.api = tables, context.api
        self.draining, self.sending = asyncio.Event(), asyncio.Semaphore(SENDING)
        self._known: dict[tuple[int, float], RowContext] = {}
        self._named: dict[str, FleetBatch] = {}

    async def rows_of(self, batch: FleetBatch) -> RowContext:
        """How this process runs the batch's rows: with the model as it was at the submit, on every machine."""
        place = batch.number, batch.started_at
        if place not in self._known:
            resolved = decode(await self.tables.model(batch.number), Resolved)
            strategy = RowStrategy(self.context, batch.id, parse_target(batch.job.model), resolved, Tally())
            context = msgspec.structs.replace(self.context, strategy=strategy)
            self._known[place] = RowContext(context, strategy, resolved, batch.job.model, batch.trace)
        return self._known[place]

    async def rows_named(self, name: str) -> RowContext | None:
        """The same by the batch's id; None where there is no such batch of a fleet."""
        batch = self._named.get(name) or await self.tables.find(name, self.api)
        if batch is None:
            return None
        self._named[name] = batch
        return await self.rows_of(batch)


def open_tables(context: Context) -> FleetTables:
    """The fleet's tables in the journal. Raises JobError for a journal that is no PostgreSQL."""
    from replicate_job.journal.sqlite import SQLiteJournal  # noqa: PLC0415 - the other one needs an extra

    if context.ephemeral or isinstance(context.journal, SQLiteJournal):
        raise JobError(
            "a fleet has its journal in PostgreSQL: name it with --journal postgresql://... (in Python journal=), or "
            "postgres-local: on one machine"
        )
    from replicate_job.journal.postgres import PostgresJournal  # noqa: PLC0415 - as above
    from replicate_job.journal.postgres_fleet import FleetTables as Tables  # noqa: PLC0415 - as above

    if not isinstance(context.journal, PostgresJournal):
        raise JournalError(f"{type(context.journal).__name__} has no tables of a fleet")
    return Tables(context.journal)


async def join(context: Context, tables: FleetTables) -> None:
    """Check that this process's token is of the fleet's account. Raises JobError.

    An API that knows no accounts has one.
    """
    if account := await context.account.find():
        await tables.join(context.api, account)


async def find_batch(tables: FleetTables, name: str, api: str) -> FleetBatch:
    """Raises JobError where no batch of that name was submitted to a fleet."""
    if found := await tables.find(name, api):
        return found
    raise JobError(f"no batch {name!r} was submitted to this fleet: `replicate-job status` names those that were")
