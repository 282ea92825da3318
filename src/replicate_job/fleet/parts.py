"""The parts of a fleet's process: the session, the fleet's tables, and the models of each batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractContextManager

import msgspec

from replicate_job.batches.progress import Tally
from replicate_job.batches.row_policy import Model, RowPolicy
from replicate_job.batches.runner import PACED
from replicate_job.batches.strategy import RowStrategy
from replicate_job.decoding import decode
from replicate_job.errors import JobError, JournalError
from replicate_job.fleet.plan import plan_of
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.journal.postgres_fleet import FleetBatch, FleetTables
from replicate_job.pricing.learned import Learned
from replicate_job.wire.target import parse_target


class Rows:
    """The parts with which this process runs a batch's rows. Each model is used as it was resolved at the submission.

    ``learned`` is the usual cost of predictions by model, cached until the clock's ``learned_until``. ``policy``
    decides about further attempts; None without further attempts. ``chain`` is the rows' chain; None without a chain.
    """

    def __init__(self, batch: FleetBatch, context: Context, resolved: Resolved) -> None:
        self.batch, self.plan = batch, plan_of(batch)
        name = self.plan.steps[0].model if self.plan.steps else batch.job.model
        strategy = RowStrategy(context, batch.id, parse_target(name), resolved, Tally())
        self.own = _model(context, strategy, resolved)
        self._models = {name: self.own}
        for other, found in self.plan.models.items():
            self._models[other] = _model(context, strategy.beside(parse_target(other), found), found)
        self.learned: dict[str, Learned] = {}
        self.learned_until = 0.0
        self.policy = self._open_policy()
        self.chain = self.plan.chain

    def _open_policy(self) -> RowPolicy | None:
        plan, fallbacks = self.plan, self.batch.job.fallback
        if plan.policy is None:
            return None
        models = [self.own, *(self._models[fallback.model] for fallback in fallbacks)]
        return RowPolicy(self.batch.id, plan.policy, models, fallbacks, shares=plan.shares)

    @property
    def models(self) -> dict[str, Resolved]:
        """The resolved models, by their names in jobs."""
        return {name: model.resolved for name, model in self._models.items()}

    def cancel_after(self, model: str) -> str | None:
        """The value of ``cancel_after`` for jobs of this model."""
        return self.chain.cancel_after(model) if self.chain else self.batch.job.cancel_after

    def part(self, key: str) -> AbstractContextManager[None]:
        """A context manager for this process's part of a row's job. Spans inside it belong to the submitter's trace."""
        batch = self.batch
        return self.own.context.telemetry.part(batch.job.model, key, batch.id, batch.trace)

    def model(self, name: str) -> Model:
        """The model with this name in jobs."""
        return self._models[name]

    def made_by(self, path: str, version: str) -> Model:
        """The model whose create requests have this path and version. The batch's own model if none fits."""
        return next((model for model in self._models.values() if model.resolved.makes(path, version)), self.own)


def _model(context: Context, strategy: RowStrategy, resolved: Resolved) -> Model:
    return Model(msgspec.structs.replace(context, strategy=strategy), resolved)


SENDING = 8
"""The number of rows whose files are uploaded at the same time. A file is in memory during its upload."""


class Fleet:
    """``draining`` is set when this process must not start more jobs. ``sending`` limits the uploads."""

    def __init__(self, context: Context, tables: FleetTables) -> None:
        retry_policy = msgspec.structs.replace(context.retry_policy, **PACED)
        self.context = msgspec.structs.replace(context, retry_policy=retry_policy)
        self.tables, self.api = tables, context.api
        self.draining, self.sending = asyncio.Event(), asyncio.Semaphore(SENDING)
        self._known: dict[int, Rows] = {}  # by the batch's number

    async def rows_of(self, batch: FleetBatch) -> Rows:
        """The ``Rows`` of a batch that was just read. New ``Rows`` are made if a later submission changed the batch."""
        rows = self._known.get(batch.number)
        if rows is None or rows.batch.started_at != batch.started_at:
            resolved = decode(await self.tables.model(batch.number), Resolved)
            rows = self._known[batch.number] = Rows(batch, self.context, resolved)
        rows.batch = batch
        return rows

    async def rows_named(self, names: Iterable[str]) -> dict[str, Rows]:
        """Read the batches with these ids, and return the ``Rows`` of each batch, by its id.

        Ids of batches that are not a fleet's are left out.
        """
        found = await self.tables.named(sorted({*names}), self.api)
        return {batch.id: await self.rows_of(batch) for batch in found}


def open_tables(context: Context) -> FleetTables:
    """The fleet's tables in the journal. Raises JobError for a local run, or if the journal is not in PostgreSQL."""
    from replicate_job.journal.sqlite import SQLiteJournal  # noqa: PLC0415 - programs with PostgreSQL need no SQLite

    if context.ephemeral:
        raise JobError(
            "--local (in Python local=True) is not for a fleet, whose workers are other processes: for models of this "
            "machine start `replicate-job serve`, and have all of them use its REPLICATE_BASE_URL"
        )
    if isinstance(context.journal, SQLiteJournal):
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
    """Check that this process's token belongs to the fleet's account. Raises JobError.

    An API without accounts passes the check.
    """
    if account := await context.account.find():
        await tables.join(context.api, account)


async def find_batch(tables: FleetTables, name: str, api: str) -> FleetBatch:
    """Find a batch of the fleet by its name. Raises JobError if no batch has the name."""
    if found := await tables.find(name, api):
        return found
    raise JobError(f"no batch {name!r} was submitted to this fleet: `replicate-job status` names those that were")
