"""One job from its journal row to its result, from wherever it stands: new, interrupted, or finished."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from replicate_job.aio import in_thread
from replicate_job.errors import (
    ClaimLostError,
    JobError,
    JournalError,
    NotFoundError,
    OutputError,
    OutputExpiredError,
    ReplicateJobError,
)
from replicate_job.flow.account import explain_missing
from replicate_job.flow.claim import release, take
from replicate_job.flow.collect import collect, lacks_files, result_of
from replicate_job.flow.context import Context
from replicate_job.flow.create import Created, create
from replicate_job.flow.follow import Emit, follow, tell_rest
from replicate_job.flow.prepare import check_job, prepare, resolve_and_check
from replicate_job.flow.reconcile import reconcile
from replicate_job.flow.resolve import Resolved, resolve
from replicate_job.flow.retry import read
from replicate_job.flow.schema_cache import load_schema
from replicate_job.flow.wait import Watch, wait
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Claim, Entry, Request
from replicate_job.outputs.discover import find_files
from replicate_job.outputs.folder import check_folder
from replicate_job.outputs.promise import broken_promise
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target

LONGEST_BLOCKING_WAIT = 60
"""Seconds that a create request may block at the API (``Prefer: wait=60``)."""


def new_key() -> str:
    return f"job-{uuid.uuid4().hex[:16]}"


class Ask(msgspec.Struct, frozen=True):
    """A job, and how to run it.

    ``save`` is the folder for outputs, None to keep none. ``emit`` gets the output text as it comes. ``blocking_wait``
    is the most seconds that the create request may block; a shorter one shows progress sooner and the end later.
    ``resolved`` is what is known of the model already. ``request`` is the create that was made of the job already, and
    may be sent at once; it is for a job that the journal does not know yet. ``bare`` keeps no ``result.json`` where
    there are no files.
    """

    job: Job
    key: str = msgspec.field(default_factory=new_key)
    save: str | None = None
    emit: Emit | None = None
    blocking_wait: int = LONGEST_BLOCKING_WAIT
    resolved: Resolved | None = None
    request: Request | None = None
    bare: bool = False


async def run_job(context: Context, ask: Ask) -> Result:
    """Bring a job to its end, or as far as its budget goes, and give the prediction as last seen.

    A job whose ``key`` is in the journal goes on where it stands; one that is finished costs no request. Raises the
    errors of every step (see ``errors``); once a prediction exists, an OutputError or JournalError carries its
    ``result``.
    """
    if ask.request is None:
        check_job(ask.job)
    if not ask.key.strip():
        raise JobError("the key is empty: name the job, or give no key")
    if context.ephemeral and not ask.job.wait_for_completion:
        raise JobError("a local run ends with its command: it has to wait for the end")
    if context.ephemeral and ask.job.webhook:
        context.reporter.warn("the local server posts no webhooks")
    while True:
        claim = await take(context, ask.key, ask.job, ask.save, request=ask.request)
        run = _Run(context, claim, ask)
        try:
            return await run.advance()
        except ClaimLostError as error:
            context.reporter.note(f"{error}: waiting for it")
        except _GoneError:
            context.reporter.warn("the local server that ran it has ended: running it again")
        finally:
            if not run.finished:
                await release(context, claim)


def _pruned(entry: Entry) -> OutputExpiredError:
    """Of this job the journal holds no more than that it is over: its key pays for nothing again."""
    assert entry.prediction_id  # noqa: S101 - its state implies it
    assert entry.status  # noqa: S101
    gone = f"the job {entry.key!r} is over ({entry.prediction_id}, {entry.status}), and its data were pruned"
    model = entry.job.model
    result = Result(prediction_id=entry.prediction_id, status=entry.status, model=model, input={}, key=entry.key)
    return OutputExpiredError(f"{gone}: use another key, or `prune --forget` to free this one", result)


def _known(resolved: Resolved | None, claim: Claim) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The schema and the look-ups, where what was created is what the model's name means now."""
    request = claim.entry.request
    if not resolved or not request:
        return None, ()
    if claim.intends or (request.path, request.version) == (resolved.path, resolved.version):
        return resolved.schema, resolved.tried
    return None, ()


class _GoneError(Exception):
    """A local server forgets its predictions when it ends; nothing was paid, so the job may run again."""


class _Run:
    """The steps, each from the state that the one before left behind."""

    def __init__(self, context: Context, claim: Claim, ask: Ask) -> None:
        self._context, self._claim, self._ask = context, claim, ask
        self._job, self._emit, self._entry = ask.job, ask.emit, claim.entry
        self._schema, self._tried = _known(ask.resolved, claim)
        self._fault: JournalError | None = None
        self.finished = claim.entry.step == "done"

    async def advance(self) -> Result:
        entry = self._entry
        if entry.step == "done" and entry.prediction and not lacks_files(entry, self._ask.save):
            return self._stored(entry, entry.prediction)
        if entry.step in {"collect", "done"}:
            if self._context.ephemeral:
                await self._start_over("its outputs were not kept")
            return await self._collect(entry.prediction or await self._ask_again(entry))
        created = await self._created()
        self._fault = created.fault
        if created.prediction and created.collected:
            self.finished = True
            self._context.reporter.observed(created.prediction)
            return result_of(created.prediction, self._entry)
        try:
            if not self._job.wait_for_completion:
                return await self._announce(created)
            end = (await self._wait(created)).with_logs(self._entry.prediction.logs if self._entry.prediction else None)
        except NotFoundError as error:
            if self._context.ephemeral:
                await self._start_over(str(error))
            await explain_missing(self._context, self._entry, error)
            raise
        if not end.is_terminal:
            return self._sum_up(result_of(end, self._entry))
        if end is not created.prediction or created.fault:
            await self._write(self._context.journal.ended(self._claim, end))
        return await self._collect(end)

    async def _start_over(self, problem: str) -> NoReturn:
        await self._context.journal.restart(self._claim, problem)
        raise _GoneError

    async def _ask_again(self, entry: Entry) -> Prediction:
        """The prediction of a job whose data were pruned, while the API has it. Raises OutputExpiredError."""
        try:
            prediction = await read(
                self._context, partial(self._context.client.get_prediction, str(entry.prediction_id))
            )
        except NotFoundError:
            raise _pruned(entry) from None
        if prediction.data_removed or not prediction.is_terminal:
            raise _pruned(entry)
        return prediction

    def _stored(self, entry: Entry, prediction: Prediction) -> Result:
        if self._emit:
            tell_rest(self._context, prediction, self._kept_schema(prediction), self._emit)
        result = result_of(prediction, entry, entry.files)
        if entry.files and self._ask.save not in {None, entry.save}:
            self._context.reporter.warn(f"this job is finished: its outputs are in {entry.save}")
        if entry.problem:
            raise OutputExpiredError(entry.problem, result)
        if problem := self._lack(prediction):
            self._context.reporter.warn(f"{prediction.id}: {problem}")
        return result

    async def _created(self) -> Created:
        """The prediction of this job, created now if it never was."""
        entry, clock = self._entry, self._context.clock
        if entry.prediction_id:
            age = (entry.last_sent.age(clock) if entry.last_sent else None) or 0.0
            return Created(entry.prediction_id, clock.now(), age=age)
        if entry.request and self._claim.intends:
            request = entry.request
        elif entry.step == "look up":
            if found := await reconcile(self._context, self._claim):
                return Created(found, clock.now())  # a rival may have made it just now: its id may not be found yet
            await self._check_folder()
            request = entry.request or await self._prepare()
        else:
            request = await self._prepare()
            self._entry = msgspec.structs.replace(entry, request=request)
        return await create(
            self._context,
            self._claim,
            request,
            blocking_wait=self._blocking_wait,
            tried=self._tried,
            is_all=self._is_all,
        )

    def _is_all(self, prediction: Prediction) -> bool:
        """Whether nothing of the prediction has to be waited for, shown or kept."""
        over = prediction.is_terminal and not prediction.data_removed
        return over and self._emit is None and not self._keeps(prediction) and not self._lack(prediction)

    def _lack(self, prediction: Prediction) -> str:
        """What it should have made and did not, as far as a schema is known."""
        if prediction.status != "succeeded" or prediction.data_removed:
            return ""
        if self._ask.resolved and not self._ask.resolved.makes_files:
            return ""
        is_resolved = self._schema or self._tried or self._ask.resolved
        return broken_promise(prediction.output, self._schema if is_resolved else self._kept_schema(prediction))

    def _keeps(self, prediction: Prediction) -> bool:
        """Whether there is anything to save of it."""
        if not self._ask.save or prediction.output is None or not self._ask.bare:
            return self._ask.save is not None and prediction.output is not None
        schema = self._ask.resolved.schema if self._ask.resolved else None
        return bool(find_files(prediction.output, schema, origin=self._context.client.base_url))

    @property
    def _blocking_wait(self) -> int:
        if self._emit or not self._job.wait_for_completion:
            return 0
        return int(min(self._ask.blocking_wait, LONGEST_BLOCKING_WAIT, self._job.budget))

    async def _check_folder(self) -> None:
        """A batch has looked at its own."""
        if self._ask.save and not self._context.batch:
            await in_thread(check_folder, Path(self._ask.save))

    async def _prepare(self) -> Request:
        try:
            await self._check_folder()
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
        self._context.reporter.observed(prediction)
        return self._sum_up(result_of(prediction, self._entry))

    async def _get_prediction(self, created: Created) -> Prediction:
        ask = partial(self._context.client.get_prediction, created.id)
        return await read(self._context, ask, young=created.age < self._context.retry_policy.appear)

    async def _wait(self, created: Created) -> Prediction:
        context, job, last = self._context, self._job, created.prediction
        until = created.sent_at + job.budget
        if self._emit:
            last = last or await self._get_prediction(created)
            schema = await self._find_schema(last)
            return await follow(context, last, schema, self._emit, until=until, interval=job.poll_interval)
        if context.rounds:
            return await context.rounds.wait(created.id, last or self._entry.prediction, age=created.age)
        early = context.clock.now() < created.sent_at + max(1, self._blocking_wait)
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
        return load_schema(self._context, version) if version else None

    async def _collect(self, end: Prediction) -> Result:
        context, entry = self._context, self._entry
        result = result_of(end, entry)
        if end.data_removed and end.output is None and end.status == "succeeded":
            gone = f"the outputs of {end.id} were deleted before they were kept: the API keeps them for an hour"
            await self._write(context.journal.collected(self._claim, end, (), gone))
            raise OutputExpiredError(gone, result)
        if self._keeps(end):
            schema, origin = await self._find_schema(end), context.client.base_url
            folder = Path(self._ask.save or "")
            try:
                async with context.saves.turn(end) if context.saves else nullcontext():
                    result = await collect(context.fetch, result, schema, folder=folder, origin=origin)
            except OutputError as error:
                self._advise(error)
                if isinstance(error, OutputExpiredError):
                    await self._write(context.journal.collected(self._claim, end, error.result.files, str(error)))
                if end.status == "succeeded":
                    raise
                context.reporter.warn(str(error))  # that it failed is the news
                return self._sum_up(error.result)
        if end.status == "succeeded" and not (end.output or self._tried or self._ask.resolved):
            await self._find_schema(end)  # an interrupted job has not asked yet whether there should be more
        problem = self._lack(end)
        if problem and not context.batch:  # a row says so in its record
            context.reporter.warn(f"{end.id}: {problem}")
            problem = ""
        await self._write(context.journal.collected(self._claim, end, result.files, problem, save=self._ask.save))
        self.finished = self._fault is None
        return self._sum_up(msgspec.structs.replace(result, problem=problem))

    def _advise(self, error: OutputError) -> None:
        """Say how to keep elsewhere what the disk here does not take."""
        is_disks = isinstance(error.__cause__, OSError) or isinstance(
            getattr(error.__cause__, "__cause__", None), OSError
        )
        if is_disks and not self._context.batch and not self._context.ephemeral:
            error.args = (f"{error}; {self._context.line('resume', '--save', 'DIR')} keeps it elsewhere",)

    async def _write(self, fact: Awaitable[None]) -> None:
        """Write a fact about a prediction that exists: a journal that fails now must not cost its result.

        Each fact holds those before it: one that is written makes up for all that could not be.
        """
        try:
            await fact
        except ClaimLostError:
            raise
        except JournalError as error:
            self._fault = self._fault or error
        else:
            self._fault = None

    def _sum_up(self, result: Result) -> Result:
        if self._fault:
            self._fault.result = result
            raise self._fault
        return result
