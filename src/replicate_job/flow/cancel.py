"""Cancels a job, even while its create request has no answer yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from replicate_job.api.failures import backoff
from replicate_job.api.ratelimit import Slot
from replicate_job.errors import JobHeldError, ReplicateJobError
from replicate_job.flow.claim import held, take
from replicate_job.flow.context import Context, of_job
from replicate_job.flow.job_run import Ask
from replicate_job.flow.reads import read
from replicate_job.flow.reconcile import reconcile
from replicate_job.flow.run import run_job
from replicate_job.flow.spot import spot
from replicate_job.flow.subject import Known, about
from replicate_job.flow.wait import Watch, wait
from replicate_job.job import Result
from replicate_job.journal.entry import Claim, CreateRequest, Entry
from replicate_job.wire.prediction import Prediction

SEARCHED = 10.0
"""Seconds for which Ctrl-C searches the account's list for a prediction whose create request got no answer."""
HELD = 60.0
"""Seconds for which a cancellation waits for a job that another call or process runs."""
CONFIRM = 10.0
"""Seconds to wait until a canceled prediction has a terminal status."""


async def cancel_job(context: Context, entry: Entry, *, within: float | None = None) -> Prediction | None:
    """Cancel the prediction of this job. If the create request got no answer, search the list for the prediction first.

    Returns None if there is no prediction. The job's key can then be used again. Raises UncertainError if the list does
    not show whether there is a prediction, or does not show it within ``within`` seconds. Raises the API's errors.

    Another call or process may be running the job. Without ``within``, its prediction is canceled too, and that call or
    process records the end. With ``within``, only the claim is waited for. Raises JobHeldError at the end of the wait.
    """
    context = of_job(context, entry.job)
    if within is None:
        claim = await _claim_or_find(context, entry)
    else:
        claim = await take(context, entry.key, entry.job, entry.save, within=within)
    if isinstance(claim, str):
        return await cancel_prediction(context, claim, young=True)
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


async def _claim_or_find(context: Context, entry: Entry) -> Claim | str:
    """Claim the job, or find the id of its prediction while another call or process runs the job."""
    until, attempt = context.clock.now() + HELD, 0
    while True:
        try:
            return await take(context, entry.key, entry.job, entry.save, within=0)
        except JobHeldError as error:
            if found := await _find_running(context, entry.key):
                return found
            if context.clock.now() >= until:
                raise
            if attempt == 0:
                context.reporter.warn(f"{error}: waiting until its prediction is known, to cancel it")
        await context.clock.sleep(backoff(attempt, ceiling=2))
        attempt += 1


async def _find_running(context: Context, key: str) -> str | None:
    """The id of the prediction of a job that another call or process runs. None if it is not known yet."""
    entry = await context.journal.get(key)
    return (entry.prediction_id or await spot(context, entry)) if entry else None


async def cancel_known(context: Context, prediction_id: str) -> Prediction:
    """Cancel a prediction, and update the journal if the journal has a job with this prediction."""
    prediction = await cancel_prediction(context, prediction_id)
    if entry := await context.journal.find(prediction_id, context.api):
        # If another process has the job's claim, that process polls the prediction and records the end.
        with suppress(JobHeldError):
            claim = await context.journal.claim(entry.key, context.api, entry.job, entry.save)
            async with held(context, claim):
                await _note_end(context, claim, prediction)
    return prediction


async def _note_end(context: Context, claim: Claim, prediction: Prediction) -> None:
    """Record a terminal status.

    A failed or canceled prediction without an output has nothing to collect, so its job is recorded as collected.
    """
    if not prediction.is_terminal or claim.entry.state == "collected":
        return
    known = claim.entry.prediction
    if known and known.is_terminal:
        prediction = known  # the API may have removed the prediction's data meanwhile
    else:
        await context.journal.ended(claim, prediction.with_logs(known.logs if known else None))
    if prediction.status != "succeeded" and prediction.output is None:
        await context.journal.collected(claim, prediction)


async def cancel_prediction(context: Context, prediction_id: str, *, young: bool = False) -> Prediction:
    """Cancel the prediction at the API, and wait up to ``CONFIRM`` seconds for its end.

    The returned status may be ``succeeded``, since the prediction may have ended before it was canceled. ``young``: the
    prediction may be so new that the API answers 404 for it.
    """
    prediction = await read(context, lambda: context.client.cancel_prediction(prediction_id), young=young)
    watch, until = Watch(context, prediction_id), context.clock.now() + CONFIRM
    return await wait(watch, prediction, until=until, interval=0.5, soon=True)


async def run_or_cancel(
    context: Context,
    ask: Ask,
    request: CreateRequest | None = None,
    slot: Slot | None = None,
    *,
    leave: Callable[[], bool] = lambda: False,
) -> Result:
    """Like ``run_job``, but a cancelled task (Ctrl-C) cancels the prediction at the API before the task ends.

    If ``leave()`` is true at that moment, the prediction is left running. Raises CancelledError in both cases. A second
    cancellation ends the task immediately.
    """
    try:
        return await run_job(context, ask, request, slot)
    except asyncio.CancelledError:
        if leave():
            line = context.line("resume")
            if await context.journal.get(ask.key):  # no entry while files are uploaded before the claim
                with about(ask):
                    context.reporter.warn(f"stopped; the job {ask.key!r} is left as it is: {line} finishes it")
        else:
            await cancel_interrupted(context, ask.key)
        raise


async def cancel_interrupted(context: Context, key: str) -> None:
    """Cancel the job that Ctrl-C interrupted, and report the outcome."""
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
