"""The steps of a job. Each step moves the job from one state to the next, and can be called on its own."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from replicate_job.errors import NotFoundError, OutputError, OutputExpiredError, ReplicateJobError
from replicate_job.flow.collect import collect, facts, result_of
from replicate_job.flow.create import Created, create
from replicate_job.flow.follow import follow
from replicate_job.flow.job_run import JobRun
from replicate_job.flow.lifecycle import Step
from replicate_job.flow.prepare import prepare, resolve_and_check, restore_contents
from replicate_job.flow.reads import read
from replicate_job.flow.reconcile import explain_missing, reconcile
from replicate_job.flow.span import LATEST
from replicate_job.flow.warm_up import warm_up
from replicate_job.job import Result
from replicate_job.journal.entry import CreateRequest
from replicate_job.outputs.place import find_place
from replicate_job.wire.prediction import MendedPrediction, Prediction


async def create_step(run: JobRun) -> None:
    """From ``claimed`` to ``created``, or further if the create request's answer already has the prediction's end."""
    await _send(run, run.entry.request if run.entry.request and run.claim.intends else await _prepare(run))


async def look_up_step(run: JobRun) -> None:
    """From ``intended`` or ``uncertain`` to ``created``, with the prediction that is found or else with a new one."""
    if found := await reconcile(run.context, run.claim, further=True):
        # The creation time is not known, since another job's request may just have created the prediction. So the age
        # counts from now.
        run.created = Created(found, run.context.clock.now())
        return
    await _check_place(run)
    await _send(run, run.entry.request or await _prepare(run))


async def _prepare(run: JobRun) -> CreateRequest:
    context = run.context
    try:
        await _check_place(run)
        job = restore_contents(run.entry.job, run.ask.job, run.entry.request)
        with context.telemetry.step("prepare"):
            resolved = await resolve_and_check(context, job)
            request = await prepare(context, job, resolved)
    except ReplicateJobError as error:
        await context.journal.refused(run.claim, str(error))
        if run.ask.is_new:  # no later call can know this generated key, and no request was sent
            await context.journal.forget(run.ask.key)
        raise
    run.resolved, run.schema = resolved, resolved.schema
    return request


async def _check_place(run: JobRun) -> None:
    if run.ask.save:
        await run.context.strategy.check_place(run.context, run.ask.save)


async def _send(run: JobRun, request: CreateRequest) -> None:
    tried = run.resolved.tried if run.resolved else ()
    if request is not run.entry.request:
        run.advance(request=request)
    if run.ask.job.wait_for_completion:
        warm_up(saves=run.ask.save is not None)
    with run.context.telemetry.step("create"):
        created = await create(
            run.context,
            run.claim,
            request,
            slot=run.slot,
            blocking_wait=run.blocking_wait,
            deadline=run.ask.deadline,
            tried=tried,
            is_all=run.is_all,
            unwritten=run.note_unwritten,
        )
    run.fault = created.fault
    if created.prediction and created.collected:
        run.context.reporter.observed(created.prediction)
        _note_end(run, created, created.prediction)
        run.advance(state="collected")
        run.result = result_of(created.prediction, run.entry)
    else:
        run.created = created


async def wait_step(run: JobRun) -> None:
    """From ``created`` to ``ended``. If the job's budget is over before the prediction ends, this is the last step."""
    context, entry = run.context, run.entry
    created = run.created or _resumed(run)
    try:
        if not run.ask.job.wait_for_completion:
            prediction = created.prediction or await _get_prediction(run, created)
            context.reporter.observed(prediction)
            run.result = result_of(prediction, entry)
            return
        with context.telemetry.step("wait"):
            end = await _wait(run, created)
        end = end.with_logs(entry.prediction.logs if entry.prediction else None)
    except NotFoundError as error:
        await explain_missing(context, entry, error)
        raise
    run.created = None
    if not end.is_terminal:
        run.result = result_of(end, entry)
        return
    _note_end(run, created, end)
    if run.unwritten:
        run.unwritten = end
    if end is not created.prediction or run.unwritten:
        await run.write(context.journal.ended(run.claim, end))
    run.advance(state="ended", prediction_id=end.id, status=end.status, prediction=end)


def _note_end(run: JobRun, created: Created, end: Prediction) -> None:
    run.context.telemetry.ended(end, run.context.clock.now() - created.sent_at + created.waited)
    if isinstance(end, MendedPrediction):
        run.context.reporter.warn(f"{end.id}: {end.flaws}")


def _resumed(run: JobRun) -> Created:
    entry, clock = run.entry, run.context.clock
    waited = (entry.last_sent.age(clock) if entry.last_sent else None) or 0.0
    # A request can create its prediction long after it was sent. A prediction from the list may have been created just
    # now, by another job's request.
    age = 0.0 if entry.unanswered else max(0.0, waited - LATEST)
    return Created(str(entry.prediction_id), clock.now(), waited=waited, age=age)


async def _get_prediction(run: JobRun, created: Created) -> Prediction:
    ask = partial(run.context.client.get_prediction, created.id)
    return await read(run.context, ask, young=created.age < run.context.retry_policy.appear)


async def _wait(run: JobRun, created: Created) -> Prediction:
    context, job = run.context, run.ask.job
    until = math.inf if run.ask.budget is None else created.sent_at + run.ask.budget
    if run.ask.emit:
        last = created.prediction or await _get_prediction(run, created)
        schema = await run.find_schema(last)
        return await follow(context, last, schema, run.ask.emit, until=until, interval=job.interval)
    return await context.strategy.wait(
        context,
        created.id,
        created.prediction,
        stored=run.entry.prediction,
        age=created.age,
        until=until,
        interval=job.interval,
        soon=context.clock.now() < created.sent_at + max(1, run.blocking_wait),
    )


async def collect_step(run: JobRun) -> None:
    """From ``ended`` to ``collected``: keep the outputs. Raises OutputError with the ``result``."""
    context, entry = run.context, run.entry
    end = entry.prediction or await _ask_again(run)
    result = result_of(end, entry)
    if end.data_removed and end.output is None and end.status == "succeeded":
        gone = f"the outputs of {end.id} were deleted before they were kept: the API keeps them for an hour"
        await run.write(context.journal.collected(run.claim, end, (), gone))
        raise OutputExpiredError(gone, result)
    if run.keeps(end):
        try:
            with context.telemetry.step("collect"):
                result = await _save(run, end, result)
        except OutputError as error:
            await _note_loss(run, end, error)
            return
    if end.status == "succeeded" and not (end.output or run.resolved):
        await run.find_schema(end)  # for a resumed job: the schema tells whether an output is missing
    problem = context.strategy.settle_problem(context, end, run.find_problem(end))
    await run.write(context.journal.collected(run.claim, end, result.files, problem, save=run.ask.save))
    run.advance(state="collected")
    run.result = msgspec.structs.replace(result, problem=problem)


async def _save(run: JobRun, end: Prediction, result: Result) -> Result:
    context, schema = run.context, await run.find_schema(end)
    async with context.strategy.saving(end):
        place = await find_place(run.ask.save or "", facts(run.entry, end), context.stores)
        return await collect(context.fetch, result, schema, place=place, origin=context.client.base_url)


async def _note_loss(run: JobRun, end: Prediction, error: OutputError) -> None:
    """Raise the error with advice. If the prediction itself failed, only warn: the failed prediction is the result."""
    context = run.context
    is_disks = isinstance(error.__cause__, OSError) or isinstance(getattr(error.__cause__, "__cause__", None), OSError)
    if is_disks:
        error.args = (f"{error}{context.strategy.advise_disk(context)}",)
    if isinstance(error, OutputExpiredError):
        await run.write(context.journal.collected(run.claim, end, error.result.files, str(error)))
    if end.status == "succeeded":
        raise error
    context.reporter.warn(str(error))
    run.result = error.result


async def _ask_again(run: JobRun) -> Prediction:
    """The prediction of a job whose data were pruned, if the API still has its data. Raises OutputExpiredError."""
    try:
        prediction = await read(run.context, partial(run.context.client.get_prediction, str(run.entry.prediction_id)))
    except NotFoundError:
        raise _pruned(run) from None
    if prediction.data_removed or not prediction.is_terminal:
        raise _pruned(run)
    return prediction


def _pruned(run: JobRun) -> OutputExpiredError:
    """The error for a finished job whose data were pruned. Its key cannot be used for a new prediction."""
    entry = run.entry
    assert entry.prediction_id  # noqa: S101 - for the type checker: the state implies an id and a status
    assert entry.status  # noqa: S101
    gone = f"the job {entry.key!r} is over ({entry.prediction_id}, {entry.status}), and its data were pruned"
    model, frees = entry.job.model, run.context.line("prune", "--older-than", "30d", "--forget")
    result = Result(prediction_id=entry.prediction_id, status=entry.status, model=model, input={}, key=entry.key)
    return OutputExpiredError(f"{gone}: use another key ({frees} frees those of old jobs)", result)


STEPS: dict[Step, Callable[[JobRun], Awaitable[None]]] = {
    "prepare": create_step,
    "look up": look_up_step,
    "wait": wait_step,
    "collect": collect_step,
    "done": collect_step,  # a finished job whose files are wanted now, or are missing
}
