"""Cancel a job, also while its create request is not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from replicate_job.api.ratelimit import Slot
from replicate_job.errors import JobHeldError, ReplicateJobError
from replicate_job.flow.claim import held, take
from replicate_job.flow.context import Context, of_job
from replicate_job.flow.job_run import Ask
from replicate_job.flow.reads import read
from replicate_job.flow.reconcile import reconcile
from replicate_job.flow.run import run_job
from replicate_job.flow.subject import Known, about
from replicate_job.flow.wait import Watch, wait
from replicate_job.job import Result
from replicate_job.journal.entry import Claim, CreateRequest, Entry
from replicate_job.wire.prediction import Prediction

SEARCHED = 10.0
"""Seconds that Ctrl-C looks for a prediction whose create request was not answered."""
HELD = 60.0
"""Seconds to wait for another process that runs the job to be canceled."""
CONFIRM = 10.0
"""Seconds to wait for a cancelled prediction to say so."""


async def cancel_job(context: Context, entry: Entry, *, within: float | None = None) -> Prediction | None:
    """Cancel the prediction of this job. Where the create request was not answered, look for the prediction first.

    None where there is no prediction: then the job's key is free again. Raises UncertainError, also where it is not
    known ``within`` so many seconds, and the API's errors.
    """
    context = of_job(context, entry.job)
    claim = await take(context, entry.key, entry.job, entry.save, within=HELD if within is None else within)
    async with held(context, claim):
        now = claim.entry
        if now.prediction and now.prediction.is_terminal:
            return now.prediction
        found = now.prediction_id
        if found is None and now.step == "look up":
            found = await reconcile(context, claim, within=within)
        if found is None:
            await context.journal.refused(claim, "interrupted before anything was created")
            return None
        prediction = await cancel_prediction(context, found, young=True)
        await _note_end(context, claim, prediction)
        return prediction


async def cancel_known(context: Context, prediction_id: str) -> Prediction:
    """Cancel a prediction, and bring the journal up to date where it has a job of it."""
    prediction = await cancel_prediction(context, prediction_id)
    if entry := await context.journal.find(prediction_id, context.api):
        # A process that waits for it observes the end itself.
        with suppress(JobHeldError):
            claim = await context.journal.claim(entry.key, context.api, entry.job, entry.save)
            async with held(context, claim):
                await _note_end(context, claim, prediction)
    return prediction


async def _note_end(context: Context, claim: Claim, prediction: Prediction) -> None:
    """Record a terminal status. Where there is no output to keep, the job is finished with it."""
    if not prediction.is_terminal or claim.entry.state == "collected":
        return
    known = claim.entry.prediction
    if known and known.is_terminal:
        prediction = known  # the API may have removed its data since
    else:
        await context.journal.ended(claim, prediction.with_logs(known.logs if known else None))
    if prediction.status != "succeeded" and prediction.output is None:
        await context.journal.collected(claim, prediction)


async def cancel_prediction(context: Context, prediction_id: str, *, young: bool = False) -> Prediction:
    """Cancel at the API and wait a moment for the end. A prediction that was quicker may have succeeded.

    ``young``: it may have been created just now, and may not be found yet.
    """
    prediction = await read(context, lambda: context.client.cancel_prediction(prediction_id), young=young)
    watch, until = Watch(context, prediction_id), context.clock.now() + CONFIRM
    return await wait(watch, prediction, until=until, interval=0.5, soon=True) or prediction


async def run_or_cancel(
    context: Context,
    ask: Ask,
    request: CreateRequest | None = None,
    slot: Slot | None = None,
    *,
    leave: Callable[[], bool] = lambda: False,
) -> Result:
    """``run_job``; a task that is cancelled (Ctrl-C) cancels the prediction at the API first.

    Unless ``leave()``: then the prediction runs on. Raises CancelledError either way. A second cancellation leaves at
    once.
    """
    try:
        return await run_job(context, ask, request, slot)
    except asyncio.CancelledError:
        if leave():
            line = context.line("resume")
            if await context.journal.get(ask.key):  # one whose files are still being sent is not there yet
                with about(ask):
                    context.reporter.warn(f"stopped; the job {ask.key!r} is left as it is: {line} finishes it")
        else:
            await cancel_interrupted(context, ask.key)
        raise


async def cancel_interrupted(context: Context, key: str) -> None:
    """Cancel the job that Ctrl-C has ended, and report how that went."""
    entry = await context.journal.get(key)
    if entry is None or entry.state in {"collected", "refused"}:
        return
    known = {"key": key, "prediction": entry.prediction_id or "", "model": entry.job.model}
    with about(Known(**known)):
        await _cancel_entry(context, entry)


async def _cancel_entry(context: Context, entry: Entry) -> None:
    if entry.prediction_id is None and entry.state != "claimed":
        context.reporter.warn(f"interrupted: looking for the {entry.job.kind} that was being created, to cancel it")
    try:
        prediction = await cancel_job(context, entry, within=SEARCHED)
    except ReplicateJobError as error:
        context.reporter.error(f"interrupted, and not canceled: {error}")
    else:
        told = f"{entry.job.kind} {prediction.id} is {prediction.status}" if prediction else "nothing was created"
        context.reporter.warn(f"interrupted: {told}")
