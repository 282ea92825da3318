"""Runs one job to its result, from any state of the job in the journal: new, interrupted, or finished."""

from __future__ import annotations

from replicate_job.api.ratelimit import Slot
from replicate_job.errors import ClaimLostError, NotFoundError, OutputExpiredError, ReplicateJobError
from replicate_job.flow.claim import take
from replicate_job.flow.collect import lacks_files, result_of
from replicate_job.flow.context import Context, of_job
from replicate_job.flow.deadline import run_within
from replicate_job.flow.follow import tell_rest
from replicate_job.flow.job_run import Ask, JobRun, check_key
from replicate_job.flow.prepare import check_job, prepare_contents, prepare_known
from replicate_job.flow.steps import STEPS
from replicate_job.flow.subject import SUBJECT, facts
from replicate_job.job import Result
from replicate_job.journal.entry import CreateRequest
from replicate_job.telemetry import PREDICTION, TRAINING


async def run_job(context: Context, ask: Ask, request: CreateRequest | None = None, slot: Slot | None = None) -> Result:
    """Run a job to its end, or until its budget is over. Returns the prediction as last observed.

    If the journal has a job with this ``key``, that job is continued. A finished job costs no request. ``request`` is
    the create request of a job that was checked and is not in the journal yet; ``slot`` is its rate-limit slot. Raises
    the errors of every step (see ``errors``). If a prediction exists, an OutputError or JournalError has its
    ``result``. Raises JobTimeoutError when the ask's ``timeout`` is over, and leaves the job as after any other
    cancellation.
    """
    context = of_job(context, ask.job)
    if request is None and not ask.is_checked:
        check_job(ask.job)
    check_key(ask.key)
    if context.ephemeral and ask.job.webhook:
        context.reporter.warn("the local server posts no webhooks")
    operation = TRAINING if ask.job.destination else PREDICTION
    before = SUBJECT.set(ask)
    try:
        with context.telemetry.job(operation, ask.job.model, ask.key, context.strategy.batch) as scope:
            if ask.timeout is None:
                result = await _run(context, ask, request, slot)
            else:
                result = await run_within(context, ask, lambda context, ask: _run(context, ask, request, slot))
            scope.over(result)
            return result
    except ReplicateJobError as error:
        error.about = facts()
        raise
    finally:
        SUBJECT.reset(before)


async def _run(context: Context, ask: Ask, request: CreateRequest | None, slot: Slot | None) -> Result:
    # With a request, the claim records the intent too. Nothing may be waited for after the intent, so the slot is taken
    # first.
    if request is None and ask.is_new and ask.save is None and (known := prepare_known(context, ask.job)):
        slot = context.client.take_slot_now()
        request = known if slot else None
    if request is None and (request := await prepare_contents(context, ask.job, ask.key, ask.save)):
        slot = await context.client.take_slot()
    while True:
        claim = await take(
            context, ask.key, ask.job, ask.save, within=ask.budget, request=request, chain_step=ask.chain_step
        )
        run, slot = JobRun(context, claim, ask, slot), None
        SUBJECT.set(run)
        try:
            if result := await _advance(run):
                return result
            context.reporter.warn("the local server that ran it has ended: running it again")
        except ClaimLostError as error:
            context.reporter.note(f"{error}: waiting for it")
        finally:
            await run.leave()


async def _advance(run: JobRun) -> Result | None:
    """Run step after step. None if the ephemeral server has ended, so that the job has to start from the beginning."""
    entry, ephemeral = run.entry, run.context.ephemeral
    if entry.step == "done" and entry.prediction and not lacks_files(entry, run.ask.save):
        return _stored(run)
    if ephemeral and entry.step in {"collect", "done"}:
        await run.context.journal.restart(run.claim, "its outputs were not kept")
        return None
    while run.result is None:
        if run.ask.ended and run.entry.prediction and run.step == "collect":
            run.ask.ended(run.entry.prediction)
        try:
            await STEPS[run.step](run)
        except NotFoundError as error:
            if not (ephemeral and run.step == "wait"):
                raise
            await run.context.journal.restart(run.claim, str(error))
            return None
    return run.finish()


def _stored(run: JobRun) -> Result:
    """The result of a finished job, without a request."""
    context, entry, prediction = run.context, run.entry, run.entry.prediction
    assert prediction  # noqa: S101 - for the type checker: `_advance` has checked it
    if run.ask.emit:
        tell_rest(context, prediction, run.stored_schema(prediction), run.ask.emit)
    result = result_of(prediction, entry, entry.files)
    if entry.files and run.ask.save not in {None, entry.save}:
        context.reporter.warn(f"this job is finished: its outputs are in {entry.save}")
    if entry.problem:
        raise OutputExpiredError(entry.problem, result)
    if problem := run.find_problem(prediction):
        context.reporter.warn(f"{prediction.id}: {problem}")
    return result
