"""What a call from Python asks for: its options are read into a job, or into a batch of rows, and settings."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from replicate_job.api.ratelimit import parse_rate
from replicate_job.batches.progress import Tally
from replicate_job.batches.row_job import ReadRow
from replicate_job.batches.rows import ColumnOptions, Header, ReadOptions, Row, RowReader, open_rows
from replicate_job.batches.rows.iterables import DataFrame, anumber_rows, header_of, number_rows
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import CONCURRENCY, LOCAL_CONCURRENCY, Batch, batch_id
from replicate_job.errors import JobError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask, new_key
from replicate_job.flow.prepare import check_job
from replicate_job.flow.resolve import resolve
from replicate_job.folders import expand
from replicate_job.inputs.plain import native
from replicate_job.job import Job, Result
from replicate_job.session import open_session
from replicate_job.settings import Settings, check_environment, read_settings
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target

_log = logging.getLogger("replicate_job")

RowInput = Mapping[str, Any]
RowSource = Iterable[RowInput] | AsyncIterable[RowInput] | DataFrame | str | PathLike[str]


class _CommonOptions(TypedDict, total=False):
    key: str | None
    save_to: str | Path | None
    token: str | None
    base_url: str | None
    journal: str | Path | None
    local: bool
    allow_private_outputs: bool
    cancel_after: str | None
    webhook: str | None
    webhook_events_filter: tuple[Literal["start", "output", "logs", "completed"], ...]
    allow_unknown: bool


class RunOptions(_CommonOptions, total=False):
    """What ``run``, ``arun``, ``stream`` and ``astream`` take besides the job.

    ``key``: names the job in the journal; the same key never creates a second prediction.
    ``save_to``: the folder that gets ``<prediction_id>/`` with the output files. Without it nothing is saved, except
    that the files of local runs go to the user's state folder.
    ``token``, ``base_url``, ``journal``: in place of the environment's. ``local``: run on this machine.
    ``allow_private_outputs``: fetch outputs also from this machine and private networks where the API is elsewhere.
    The others replace the job's own; see ``Job``.
    """

    wait_for_completion: bool
    poll_interval: float
    max_poll_attempts: int


class BatchOptions(_CommonOptions, total=False):
    """What ``batch`` takes besides the job and its rows.

    ``key`` names the batch: the same key continues where an earlier call stopped. Without it a file names itself, and
    other rows start a new batch. ``id`` is the column that names a row, so that rows may come in another order.
    ``rename`` maps a column to its input. ``ignore_columns`` are left out; ``"*"`` leaves out all that the model lacks.
    ``format``, ``delimiter``, ``encoding``, ``header`` (False, or the names) and ``quotes`` are for a file in which
    they are not recognised; see ``replicate-job batch --help``.
    ``save_to``: the folder for output files; without it nothing is saved. ``concurrency``: the most predictions that
    run at once. ``rate``: the most create requests, as ``"600/min"``, ``"10/s"``, ``"none"``. ``limit``: the most rows.
    ``retry_failed``, ``retry_uncertain`` (may pay twice), ``fail_fast``, ``max_predict_time`` (seconds): see
    ``replicate-job batch --help``. The others are those of ``RunOptions``.
    """

    id: str | None
    rename: Mapping[str, str]
    ignore_columns: Iterable[str]
    format: str | None
    delimiter: str | None
    encoding: str | None
    header: bool | Iterable[str]
    quotes: bool
    concurrency: int | None
    rate: str
    limit: int | None
    retry_failed: bool
    retry_uncertain: bool
    fail_fast: bool
    max_predict_time: float | None


class LogReporter:
    """Reports to the logger ``replicate_job``."""

    def error(self, line: str) -> None:
        _log.error("%s", line)

    def warn(self, line: str) -> None:
        _log.warning("%s", line)

    def tell(self, line: str) -> None:
        _log.info("%s", line)

    def note(self, line: str) -> None:
        _log.info("%s", line)

    def observed(self, prediction: Prediction) -> None:
        _log.debug("%s is %s", prediction.id, prediction.status)


class RunCall(msgspec.Struct, frozen=True):
    """One call of ``run``: what it asks for, and where."""

    ask: Ask
    settings: Settings

    def open(self) -> AbstractAsyncContextManager[Context]:
        return open_session(self.settings, LogReporter(), model=self.ask.job.model)


def read_call(job: Job | str, input_data: Mapping[str, Any] | None, options: RunOptions) -> RunCall:
    _check_names(options, RunOptions)
    job = _read_job(job, options, "run(load_job({!r}))")
    job = msgspec.structs.replace(job, input_data=native({**job.input_data, **(input_data or {})}))
    settings = _read_settings(options)
    check_environment(job.env, settings)
    key = options.get("key")
    return RunCall(Ask(job, new_key() if key is None else key, _output_folder(options, settings)), settings)


def _check_names(options: _CommonOptions, known: type) -> None:
    if unknown := options.keys() - known.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}; there are {', '.join(known.__annotations__)}")


def _read_job(job: Job | str, options: _CommonOptions, correct_call: str) -> Job:
    """The job with the options that replace its own. ``correct_call`` is how to pass a job file."""
    if isinstance(job, str):
        if job.endswith((".xs", ".toml", ".json")):
            raise JobError(f"{job} is a job file: {correct_call.format(job)}")
        job = Job(job)
    own = {name: value for name, value in options.items() if name in Job.__struct_fields__}
    return msgspec.structs.replace(job, **own)


def _read_settings(options: _CommonOptions) -> Settings:
    return read_settings(
        token=options.get("token"),
        base_url=options.get("base_url"),
        journal=options.get("journal"),
        local=options.get("local", False),
        allow_private_outputs=options.get("allow_private_outputs", False),
    )


def _output_folder(options: _CommonOptions, settings: Settings) -> str | None:
    folder = options.get("save_to")
    if folder is None and settings.local:
        folder = settings.state / "outputs"  # the local server deletes its own copies when it ends
    return str(expand(folder).absolute()) if folder else None


class BatchCall:
    """One call of ``batch``: what it asks for, and where."""

    def __init__(self, job: Job | str, rows: RowSource, options: BatchOptions) -> None:
        _check_names(options, BatchOptions)
        job = _read_job(job, options, "batch(load_job({!r}), ...)")
        self._job = msgspec.structs.replace(job, input_data=native(job.input_data))
        self._options, self.tally = options, Tally()
        self._settings = _read_settings(options)
        for name in ("concurrency", "limit"):
            if (number := options.get(name)) is not None and (not isinstance(number, int) or number < 1):
                raise JobError(f"{name}: {number!r} is not a number of rows: give one from 1, or None")
        check_job(self._job)
        check_environment(self._job.env, self._settings)
        try:
            self._rate = parse_rate(options.get("rate", "600/min"))
        except ValueError as error:
            raise JobError(f"rate: {error}") from None
        self._columns = ColumnOptions(
            dict(options.get("rename", {})), frozenset(options.get("ignore_columns", ())), options.get("id")
        )
        self._rows, self._read, self._source = self._open(rows)

    def _open(self, rows: RowSource) -> tuple[Iterable[Row] | AsyncIterable[Row], ReadRow, Path | None]:
        """The rows, the function that reads one as an input, and the file that they come from."""
        reader = partial(RowReader, job=self._job, options=self._columns)
        if isinstance(rows, str | PathLike):
            file, source = open_rows(rows, self._read_options()), Path(rows).resolve()
            # ``within`` gives @path its meaning, which only rows of a file have.
            read = partial(reader, header=file.header(), typed=file.typed, within=(Path.cwd(), source.parent))
            return file, read, source
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

    async def run(self) -> AsyncGenerator[list[Result], None]:
        async with open_session(self._settings, LogReporter(), model=self._job.model, rate=self._rate) as context:
            resolved = await resolve(context, parse_target(self._job.model))
            runner = BatchRunner(context, self._batch(context), resolved, self.tally)
            async with aclosing(runner.run(self._rows)) as chunks:
                async for results in chunks:
                    yield results

    def _batch(self, context: Context) -> Batch:
        options = self._options
        source, columns = self._source, self._columns.identity
        # Rows of an iterable cannot be recognised in a later call, so their batch gets a new name.
        name = batch_id(context.api, self._job, source, columns) if source else f"batch-{uuid.uuid4().hex[:16]}"
        return Batch(
            id=options.get("key") or name,
            job=self._job,
            read=self._read,
            save=_output_folder(options, self._settings),
            concurrency=options.get("concurrency") or (LOCAL_CONCURRENCY if context.ephemeral else CONCURRENCY),
            source=str(source or ""),
            id_column=options.get("id"),
            limit=options.get("limit"),
            retry_failed=options.get("retry_failed", False),
            retry_uncertain=options.get("retry_uncertain", False),
            fail_fast=options.get("fail_fast", False),
            max_predict_time=options.get("max_predict_time"),
        )
