"""A call from Python, taken apart: its options, its job, and the session that it runs in."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from replicate_job.api.ratelimit import parse_rate
from replicate_job.batches.progress import Tally
from replicate_job.batches.row_job import ReadRow
from replicate_job.batches.rows import ColumnOptions, Header, ReadOptions, Row, RowReader, open_rows
from replicate_job.batches.rows.frame import Frame, frame_names, frame_rows
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import CONCURRENCY, LOCAL_CONCURRENCY, Batch, batch_id
from replicate_job.errors import JobError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask, new_key
from replicate_job.flow.prepare import check_job
from replicate_job.flow.resolve import resolve
from replicate_job.folders import expand
from replicate_job.inputs.plain import native, plain_values
from replicate_job.job import Job, Result
from replicate_job.session import open_session
from replicate_job.settings import Settings, check_environment, read_settings
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target

_log = logging.getLogger("replicate_job")

RowInput = Mapping[str, Any]
RowSource = Iterable[RowInput] | AsyncIterable[RowInput] | Frame | str | PathLike[str]


class Options(TypedDict, total=False):
    """What ``run``, ``arun``, ``stream`` and ``astream`` take besides the job.

    ``save_to``: the folder that gets ``<prediction_id>/`` with the output files; without it nothing is saved, but for
    local runs, whose files go to the user's state folder.
    ``key``: names the job in the journal; the same key never creates a second prediction.
    ``token``, ``base_url``, ``journal``: in place of the environment's. ``local``: run on this machine.
    ``allow_private_outputs``: fetch outputs also from this machine and private networks where the API is elsewhere.
    The others replace the job's own; see ``Job``.
    """

    save_to: str | Path | None
    key: str | None
    token: str | None
    base_url: str | None
    journal: str | Path | None
    local: bool
    allow_private_outputs: bool
    wait_for_completion: bool
    poll_interval: float
    max_poll_attempts: int
    cancel_after: str | None
    webhook: str | None
    webhook_events_filter: tuple[Literal["start", "output", "logs", "completed"], ...]
    allow_unknown: bool


class LogReporter:
    """Tells the logger ``replicate_job``."""

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
    """One call of ``run``, with its options taken apart."""

    ask: Ask
    settings: Settings

    def open(self) -> AbstractAsyncContextManager[Context]:
        return open_session(self.settings, LogReporter(), model=self.ask.job.model)


def read_call(job: Job | str, input_data: Mapping[str, Any] | None, options: Options) -> RunCall:
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}; there are {', '.join(Options.__annotations__)}")
    if isinstance(job, str):
        if job.endswith((".xs", ".toml", ".json")):
            raise JobError(f"{job} is a job file: run(load_job({job!r}))")
        job = Job(job, dict(input_data or {}))
    elif input_data:
        job = msgspec.structs.replace(job, input_data={**job.input_data, **input_data})
    own = {name: value for name, value in options.items() if name in Job.__struct_fields__}
    job = msgspec.structs.replace(job, input_data=native(job.input_data), **own)
    settings = read_settings(
        token=options.get("token"),
        base_url=options.get("base_url"),
        journal=options.get("journal"),
        local=options.get("local", False),
        allow_private_outputs=options.get("allow_private_outputs", False),
    )
    check_environment(job.env, settings)
    folder = options.get("save_to")
    if folder is None and settings.local:
        folder = settings.state / "outputs"  # the server's own files end with it
    save = str(expand(folder).absolute()) if folder else None
    key = options.get("key")
    return RunCall(Ask(job, new_key() if key is None else key, save), settings)


class BatchOptions(TypedDict, total=False):
    """What ``batch`` takes besides the job and its rows.

    ``key`` names the batch: the same key goes on where an earlier call stopped. Without it a file names itself, and
    rows from elsewhere start anew. ``id`` is the column that names a row, so that rows may come in another order.
    ``rename`` says which input a column is, and ``ignore_columns`` which are left out, ``"*"`` for all that the model
    lacks. ``format``, ``delimiter``, ``encoding``, ``header`` (False, or the names) and ``quotes`` are of a file, where
    they are not recognised; see ``replicate-job batch --help``.
    ``save_to``: the folder for output files; without it nothing is saved. ``concurrency``: predictions under way
    together. ``rate``: the most creates, as ``"600/min"``, ``"10/s"``, ``"none"``. ``limit``: rows that are taken.
    ``retry_failed``, ``retry_uncertain`` (may pay twice), ``fail_fast``, ``max_predict_time`` (seconds): see
    ``replicate-job batch --help``.
    ``token``, ``base_url``, ``journal``, ``local``, ``allow_private_outputs`` and those of ``Job``: as for ``run``.
    """

    key: str | None
    id: str | None
    rename: Mapping[str, str]
    ignore_columns: Iterable[str]
    format: str | None
    delimiter: str | None
    encoding: str | None
    header: bool | Iterable[str]
    quotes: bool
    save_to: str | Path | None
    concurrency: int | None
    rate: str
    limit: int | None
    retry_failed: bool
    retry_uncertain: bool
    fail_fast: bool
    max_predict_time: float | None
    token: str | None
    base_url: str | None
    journal: str | Path | None
    local: bool
    allow_private_outputs: bool
    cancel_after: str | None
    webhook: str | None
    webhook_events_filter: tuple[Literal["start", "output", "logs", "completed"], ...]
    allow_unknown: bool


class BatchCall:
    """One call of ``batch``, with its options taken apart."""

    def __init__(
        self,
        job: Job | str,
        rows: RowSource,
        options: BatchOptions,
    ) -> None:
        if unknown := options.keys() - BatchOptions.__annotations__.keys():
            raise TypeError(f"there is no option {min(unknown)!r}; there are {', '.join(BatchOptions.__annotations__)}")
        if isinstance(job, str) and job.endswith((".xs", ".toml", ".json")):
            raise JobError(f"{job} is a job file: batch(load_job({job!r}), ...)")
        own = {name: value for name, value in options.items() if name in Job.__struct_fields__}
        job = Job(job) if isinstance(job, str) else job
        self._job = msgspec.structs.replace(job, input_data=native(job.input_data), **own)
        self._options, self.tally = options, Tally()
        self._settings = read_settings(
            token=options.get("token"),
            base_url=options.get("base_url"),
            journal=options.get("journal"),
            local=options.get("local", False),
            allow_private_outputs=options.get("allow_private_outputs", False),
        )
        for name in ("concurrency", "limit"):
            if (given := options.get(name)) is not None and (not isinstance(given, int) or given < 1):
                raise JobError(f"{name}: {given!r} is no number of rows: give one from 1, or None")
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
        """The rows, how to read one as an input, and the file that they are from."""
        how = partial(RowReader, job=self._job, options=self._columns)
        if isinstance(rows, str | PathLike):
            file, source = open_rows(rows, self._reading()), Path(rows).resolve()
            read = partial(how, header=file.header(), typed=file.typed, within=(Path.cwd(), source.parent))
            return file, read, source
        if self._reading() != ReadOptions():
            raise JobError("format, delimiter, encoding, header and quotes are for the path of a file")
        if isinstance(rows, AsyncIterable):
            return _number(rows), partial(how, header=Header("rows"), typed=True), None
        names, found = (frame_names(rows), frame_rows(rows)) if isinstance(rows, Frame) else (None, rows)
        header = Header("rows", names, is_whole=names is not None)
        return map(_row, count(1), found), partial(how, header=header, typed=True), None

    def _reading(self) -> ReadOptions:
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
            runner = BatchRunner(context, self._batch(context, self._settings), resolved, self.tally)
            async with aclosing(runner.run(self._rows)) as results:
                async for some in results:
                    yield some

    def _batch(self, context: Context, settings: Settings) -> Batch:
        options = self._options
        source, columns = self._source, self._columns.identity
        named = batch_id(context.api, self._job, source, columns) if source else f"batch-{uuid.uuid4().hex[:16]}"
        folder = options.get("save_to") or (settings.state / "outputs" if settings.local else None)
        return Batch(
            id=options.get("key") or named,
            job=self._job,
            read=self._read,
            save=str(expand(folder).absolute()) if folder else None,
            concurrency=options.get("concurrency") or (LOCAL_CONCURRENCY if context.ephemeral else CONCURRENCY),
            source=str(self._source or ""),
            id_column=options.get("id"),
            limit=options.get("limit"),
            retry_failed=options.get("retry_failed", False),
            retry_uncertain=options.get("retry_uncertain", False),
            fail_fast=options.get("fail_fast", False),
            max_predict_time=options.get("max_predict_time"),
        )


async def _number(rows: AsyncIterable[RowInput]) -> AsyncIterator[Row]:
    line = 0
    async for values in rows:
        line += 1
        yield _row(line, values)


def _row(line: int, values: RowInput) -> Row:
    if not isinstance(values, Mapping):
        if not hasattr(values, "to_dict"):  # as a row of a DataFrame has, a Series
            return Row(line, {}, f"a row is a mapping of inputs, this is a {type(values).__name__}")
        values = values.to_dict()
    try:
        return Row(line, plain_values(values))
    except ValueError as error:
        return Row(line, {}, str(error))
