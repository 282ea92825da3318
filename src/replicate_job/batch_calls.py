"""Reads the rows and options of a ``batch`` call from Python. Only calls of ``batch`` import it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from replicate_job.batches.open_runner import open_runner
from replicate_job.batches.prices import read_said
from replicate_job.batches.progress import Tally
from replicate_job.batches.row_job import ReadRow
from replicate_job.batches.rows import ColumnOptions, Header, ReadOptions, Row, RowReader, open_rows
from replicate_job.batches.rows.columns import check_given
from replicate_job.batches.rows.iterables import DataFrame, anumber_rows, header_of, number_rows
from replicate_job.batches.rows.python_words import python_words, read_in_python, rows_in_python
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import CONCURRENCY, LOCAL_CONCURRENCY, Batch, OtherModel, batch_id
from replicate_job.calls import (
    BatchOptions,
    as_chain,
    check_chain_options,
    read_job,
    read_options,
    read_place,
    read_plan,
)
from replicate_job.errors import JobError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import WATCHED_BLOCKING_WAIT
from replicate_job.flow.prepare import check_job
from replicate_job.flow.resolved import Resolved
from replicate_job.folders import absolute, working_folder
from replicate_job.inputs.held import take
from replicate_job.job import Job
from replicate_job.settings import Settings
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from replicate_job.batches.chains.plan import ChainPlan
    from replicate_job.batches.rows.grid import Grid
    from replicate_job.chain import Chain
    from replicate_job.template import Template

RowInput = Mapping[str, Any]
RowSource = Iterable[RowInput] | AsyncIterable[RowInput] | DataFrame | str | PathLike[str]


def _check_rows(rows: object) -> None:
    """Raise JobError for a value that is not a collection of rows, such as a single row."""
    if isinstance(rows, Mapping | Job | bytes) or not (
        isinstance(rows, str | PathLike | Iterable | AsyncIterable | DataFrame)
    ):
        raise JobError(f"rows is a {type(rows).__name__}: give a list of inputs, a DataFrame or the path of a file")


def _names(names: Iterable[str]) -> frozenset[str]:
    """The names as a set. A string is one name, and not a sequence of letters."""
    return frozenset({names} if isinstance(names, str) else names)


def _read_grid(options: BatchOptions, model: str) -> Grid | None:
    grid, models = options.get("grid", {}), options.get("models", ())
    if not (grid or models):
        return None
    from replicate_job.batches.rows.grid import read_grid  # noqa: PLC0415 - few batches have one

    return read_grid(grid, models, model)


def _read_templates(options: BatchOptions) -> Mapping[str, Template]:
    if not options.get("set"):
        return {}
    from replicate_job.batches.rows.filling import read_templates  # noqa: PLC0415 - few batches have some

    return read_templates(options["set"])


class BatchCall:
    """The rows and options of a ``batch`` call. Raises JobError, TypeError.

    ``job`` is the job, with the call's options in place of its own values. ``rows`` can be read once. ``tally`` counts
    the progress.
    """

    def __init__(
        self,
        job: Job | Chain | str,
        rows: RowSource,
        options: BatchOptions,
        *,
        settings: Settings,
        folder: str | Path | None,
    ) -> None:
        options = read_options(options, BatchOptions)
        _check_rows(rows)
        self.tally = Tally()
        self.job, self.chain = self._read_target(job, options, settings)
        self._options, self._save = options, read_place(options.get("save_to"), folder, rows=True)
        if options.get("dedupe") and options.get("id") is not None:
            raise JobError("dedupe names rows by their inputs, and id by a column: give one")
        self._plan = read_plan(msgspec.structs.replace(self.job, wait_for_completion=True), options)
        self._grid = _read_grid(options, self.job.model)
        self._columns = ColumnOptions(
            dict(options.get("rename", {})),
            _names(options.get("ignore_columns", ())),
            options.get("id"),
            templates=_read_templates(options),
            grid=frozenset(self._grid.dimensions if self._grid else ()),
        )
        check_given(self._columns)
        with python_words():
            self.rows, self._reader, self._source = self._open(rows)

    @staticmethod
    def _read_target(job: Job | Chain | str, options: BatchOptions, settings: Settings) -> tuple[Job, Chain | None]:
        """The job of all rows, and the chain or None. For a chain, the job is made from the chain."""
        if chain := as_chain(job):
            from replicate_job.batches.chains.plan import chain_job, check_chain  # noqa: PLC0415 - for chains only

            check_chain_options(options)
            check_chain(chain)
            return chain_job(chain), chain
        read = read_job(cast("Job | str", job), options, settings, "batch(load_job({!r}), ...)")
        read = msgspec.structs.replace(read, input_data=take(read.input_data, read.model))
        check_job(read)
        return read, None

    @property
    def model(self) -> str:
        """The model that runs first."""
        return self.chain.steps[0].model if self.chain else self.job.model

    async def prepare(self, context: Context) -> tuple[Batch, Resolved | ChainPlan]:
        """The batch, and its resolved model or its chain's plan. This sends requests for the models."""
        if self.chain:
            from replicate_job.batches.chains.plan import plan_chain  # noqa: PLC0415 - for chains only

            return self.batch(context), await plan_chain(context, self.chain)
        resolved = await context.strategy.resolve(context, parse_target(self.job.model))
        return msgspec.structs.replace(self.batch(context), others=await self.others(context)), resolved

    async def runner(self, context: Context, *, is_watched: bool = False) -> BatchRunner:
        """The runner of the batch. This sends requests for the models.

        ``is_watched``: progress is reported. A blocking wait reports nothing until its end, so it is shortened.
        """
        batch, resolved = await self.prepare(context)
        if is_watched:
            batch = msgspec.structs.replace(batch, blocking_wait=WATCHED_BLOCKING_WAIT)
        return open_runner(context, batch, resolved, self.tally)

    def _open(self, rows: RowSource) -> tuple[Iterable[Row] | AsyncIterable[Row], partial[RowReader], Path | None]:
        """The rows, a function that makes the reader of a row, and the file with the rows (None without a file)."""
        reader = partial(RowReader, options=self._columns)
        if isinstance(rows, str | PathLike):
            file, source = open_rows(rows, self._read_options()), absolute(Path(rows)).resolve()
            # ``within`` lets a value ``@path`` name a file. Only rows from a file may have such values.
            read = partial(reader, header=file.header(), typed=file.typed, within=(working_folder(), source.parent))
            return rows_in_python(file), read, source
        if self._read_options() != ReadOptions():
            raise JobError("format, delimiter, encoding, header and quotes are for the path of a file")
        if isinstance(rows, AsyncIterable):
            return anumber_rows(rows), partial(reader, header=Header("rows"), typed=True), None
        return number_rows(rows), partial(reader, header=header_of(rows), typed=True), None

    def _read_options(self) -> ReadOptions:
        options = self._options
        header = options.get("header", True)
        return ReadOptions(
            options.get("format"),
            options.get("delimiter"),
            options.get("encoding"),
            header if isinstance(header, bool) else tuple(header),
            quotes=options.get("quotes", True),
        )

    def _read(self, job: Job) -> ReadRow:
        return read_in_python(partial(self._reader, job=job))

    async def others(self, context: Context) -> dict[str, OtherModel]:
        """The further models of the rows, by their names. Raises ModelNotFoundError."""
        others: dict[str, OtherModel] = {}
        for model in self._grid.models if self._grid else ():
            job = msgspec.structs.replace(self.job, model=model)
            check_job(job)
            others[model] = OtherModel(
                job, self._read(job), await context.strategy.resolve(context, parse_target(model))
            )
        return others

    def batch(self, context: Context) -> Batch:
        options = self._options
        source, columns = self._source, self._columns.identity
        # A later call cannot recognize the rows of an iterable, so their batch gets a new name.
        identity = Job(self.chain.identity) if self.chain else self.job
        name = batch_id(context.api, identity, source, columns) if source else f"batch-{uuid.uuid4().hex[:16]}"
        return Batch(
            id=options.get("key") or name,
            job=self.job,
            read=self._read(self.job),
            grid=self._grid,
            save=self._save,
            concurrency=options.get("concurrency") or (LOCAL_CONCURRENCY if context.ephemeral else CONCURRENCY),
            source=str(source or ""),
            id_column=options.get("id"),
            limit=options.get("limit"),
            retry_failed=options.get("retry_failed", False),
            retry_uncertain=options.get("retry_uncertain", False),
            fail_fast=options.get("fail_fast", False),
            max_predict_time=options.get("max_predict_time"),
            max_cost=None if (most := options.get("max_cost")) is None else Decimal(str(most)),
            prices=read_said(options.get("price")),
            plan=self._plan,
            dedupe=options.get("dedupe", False),
        )
