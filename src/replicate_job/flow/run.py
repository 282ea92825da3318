"""One job from its journal row to its result, from wherever it stands: new, interrupted, or finished."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from replicate_job.errors import (
    ClaimLostError,
    JobError,
    JournalError,
    NotFoundError,
    OutputError,
    OutputExpiredError,
    ReplicateJobError,
)
from replicate_job.flow.claim import held, take
from replicate_job.flow.collect import collect, result_of
from replicate_job.flow.context import Context
from replicate_job.flow.create import Created, create
from replicate_job.flow.follow import Emit, follow
from replicate_job.flow.prepare import check_job, prepare, resolve_and_check
from replicate_job.flow.reconcile import reconcile
from replicate_job.flow.resolve import Resolved, resolve
from replicate_job.flow.retry import read
from replicate_job.flow.schemas import load_schema
from replicate_job.flow.wait import Watch, wait
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Claim, Entry, Request
from replicate_job.outputs.discover import as_text
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target

LONGEST_HOLD = 60
"""Seconds that the API keeps a create open at most (``Prefer: wait=60``)."""


def new_key() -> str:
    return f"job-{uuid.uuid4().hex[:16]}"


class Ask(msgspec.Struct, frozen=True):
    """A job, and how to run it.

    ``save`` is the folder for outputs, None to keep none. ``emit`` gets the output text as it comes. ``hold`` is the
    most seconds that the create may be kept open; a shorter one shows progress sooner and the end later.
    ``resolved`` is what is known of the model already.
    """

    job: Job
    key: str = msgspec.field(default_factory=new_key)
    save: str | None = None
    emit: Emit | None = None
    hold: int = LONGEST_HOLD
    resolved: Resolved | None = None


async def run_job(context: Context, ask: Ask) -> Result:
    """Bring a job to its end, or as far as its budget goes, and give the prediction as last seen.

    A job whose ``key`` is in the journal goes on where it stands; one that is finished costs no request. Raises the
    errors of every step (see ``errors``); once a prediction exists, an OutputError or JournalError carries its
    ``result``.
    """
    check_job(ask.job)
    if not ask.key.strip():
        raise JobError("the key is empty: name the job, or give no key")
    if context.forgetful and not ask.job.wait_for_completion:
        raise JobError("a local run ends with its command: it has to wait for the end")
    if context.forgetful and ask.job.webhook:
        context.reporter.warn("the local server posts no webhooks")
    while True:
        claim = await take(context, ask.key, ask.job, ask.save)
        try:
            async with held(context, claim):
                return await _Run(context, claim, ask).advance()
        except ClaimLostError as error:
            context.reporter.note(f"{error}: waiting for it")
        except _GoneError:
            context.reporter.warn("the local server that ran it has ended: running it again")


class _GoneError(Exception):
    """A local server forgets its predictions when it ends; nothing was paid, so the job may run again."""


class _Run:
    """The steps, each from the state that the one before left behind."""

    def __init__(self, context: Context, claim: Claim, ask: Ask) -> None:
        self._context, self._claim, self._ask = context, claim, ask
        self._job, self._emit, self._entry = ask.job, ask.emit, claim.entry
        self._schema: dict[str, Any] | None = None
        self._tried: tuple[str, ...] = ()
        self._fault: JournalError | None = None

    async def advance(self) -> Result:
        entry = self._entry
        if entry.state == "collected" and entry.prediction and not self._lacks_files(entry.prediction):
            return self._stored(entry, entry.prediction)
        if entry.state in {"ended", "collected"} and entry.prediction:
            if self._context.forgetful:
                await self._start_over("its outputs were not kept")
            return await self._collect(entry.prediction)
        created = await self._created()
        self._fault = created.fault
        try:
            if not self._job.wait_for_completion:
                return await self._announce(created)
            end = await self._wait(created)
        except NotFoundError as error:
            if self._context.forgetful:
                await self._start_over(str(error))
            raise
        if not end.is_terminal:
            return self._sum_up(result_of(end, self._entry))
        await self._write(self._context.journal.ended(self._claim, end))
        return await self._collect(end)

    async def _start_over(self, problem: str) -> NoReturn:
        await self._context.journal.refused(self._claim, problem)
        raise _GoneError

    def _lacks_files(self, prediction: Prediction) -> bool:
        """Whether files are to be kept that a finished job did not keep, or that are no longer there."""
        entry = self._entry
        if not self._ask.save or entry.problem:
            return False
        if entry.files:
            return not all(path.exists() for path in entry.files)
        return entry.save is None and prediction.output is not None

    def _stored(self, entry: Entry, prediction: Prediction) -> Result:
        if self._emit:
            schema, origin = self._kept_schema(prediction), self._context.client.base_url
            if whole := as_text(prediction.output, schema, origin=origin):
                self._emit(whole)
        result = result_of(prediction, entry, entry.files)
        if entry.files and self._ask.save not in {None, entry.save}:
            self._context.reporter.warn(f"this job is finished: its outputs are in {entry.save}")
        if entry.problem:
            raise OutputExpiredError(entry.problem, result)
        return result

    async def _created(self) -> Created:
        """The prediction of this job, created now if it never was."""
        entry, clock = self._entry, self._context.clock
        age = max(0.0, clock.time() - (entry.last_sent or 0))
        if entry.prediction_id:
            return Created(entry.prediction_id, clock.now(), age=age)
        if entry.request and entry.state in {"intended", "uncertain"}:
            if found := await reconcile(self._context, self._claim, entry, elapsed=age):
                return Created(found, clock.now(), age=age)
            request = entry.request
        else:
            request = await self._prepare()
            self._entry = msgspec.structs.replace(entry, request=request)
        return await create(self._context, self._claim, request, hold=self._hold, tried=self._tried)

    @property
    def _hold(self) -> int:
        if self._emit or not self._job.wait_for_completion:
            return 0
        return int(min(self._ask.hold, LONGEST_HOLD, self._job.budget))

    async def _prepare(self) -> Request:
        try:
            resolved = await resolve_and_check(self._context, self._entry.job, self._ask.resolved)
            request = await prepare(self._context, self._entry.job, resolved)
        except ReplicateJobError as error:
            await self._context.journal.refused(self._claim, str(error))
            raise
        self._schema, self._tried = resolved.schema, resolved.tried
        return request

    async def _announce(self, created: Created) -> Result:
        """The prediction as it was created, without waiting for it."""
        prediction = created.prediction or await self._get_prediction(created)
        self._context.reporter.saw(prediction)
        return self._sum_up(result_of(prediction, self._entry))

    async def _get_prediction(self, created: Created) -> Prediction:
        ask = partial(self._context.client.get_prediction, created.id)
        return await read(self._context, ask, young=created.age < self._context.patience.appear)

    async def _wait(self, created: Created) -> Prediction:
        context, job, last = self._context, self._job, created.prediction
        until = created.sent_at + job.budget
        if self._emit:
            last = last or await self._get_prediction(created)
            schema = await self._find_schema(last)
            return await follow(context, last, schema, self._emit, until=until, interval=job.poll_interval)
        early = context.clock.now() < created.sent_at + max(1, self._hold)
        watch = Watch(context, created.id, age=created.age)
        seen = await wait(watch, last, until=until, interval=job.poll_interval, soon=early)
        return seen or Prediction(id=created.id, status="starting")

    async def _find_schema(self, prediction: Prediction) -> dict[str, Any] | None:
        """The model's schema, to tell files from text; an interrupted job asks for it again."""
        self._schema = self._schema or self._kept_schema(prediction)
        if self._schema is None:
            # What was created, not what the model's name means by now.
            request = self._entry.request
            target = request.target if request else parse_target(self._entry.job.model)
            try:
                self._schema = (await resolve(self._context, target)).schema
            except ReplicateJobError as error:
                self._context.reporter.warn(f"{error}; files are told from text by their addresses alone")
        return self._schema

    def _kept_schema(self, prediction: Prediction) -> dict[str, Any] | None:
        """The schema of the prediction's version, where it was seen before."""
        request = self._entry.request
        version = (request.version if request else "") or prediction.version
        return load_schema(self._context.cache, version) if version else None

    async def _collect(self, end: Prediction) -> Result:
        context, entry = self._context, self._entry
        result = result_of(end, entry)
        if end.data_removed and end.output is None and end.status == "succeeded":
            gone = f"the outputs of {end.id} were deleted before they were kept: the API keeps them for an hour"
            await self._write(context.journal.collected(self._claim, (), gone))
            raise OutputExpiredError(gone, result)
        if self._ask.save and end.output is not None:
            schema, origin = await self._find_schema(end), context.client.base_url
            try:
                result = await collect(context.fetch, result, schema, folder=Path(self._ask.save), origin=origin)
            except OutputError as error:
                if isinstance(error, OutputExpiredError):
                    await self._write(context.journal.collected(self._claim, error.result.files, str(error)))
                if end.status == "succeeded":
                    raise
                context.reporter.warn(str(error))  # that it failed is the news
                return self._sum_up(error.result)
        await self._write(context.journal.collected(self._claim, result.files, save=self._ask.save))
        return self._sum_up(result)

    async def _write(self, fact: Awaitable[None]) -> None:
        """Write a fact about a prediction that exists: a journal that fails now must not cost its result."""
        try:
            await fact
        except ClaimLostError:
            raise
        except JournalError as error:
            self._fault = self._fault or error

    def _sum_up(self, result: Result) -> Result:
        if self._fault:
            self._fault.result = result
            raise self._fault
        return result
