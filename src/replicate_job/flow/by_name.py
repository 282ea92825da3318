"""Finds, shows and cancels a job or prediction by a name: the job's key, or the prediction's id or URL."""

from __future__ import annotations

import math

from replicate_job.errors import (
    DamagedError,
    JobError,
    JobTimeoutError,
    NotFoundError,
    UncertainError,
    UnknownJobError,
)
from replicate_job.flow.adopt import adopt
from replicate_job.flow.cancel import cancel_job, cancel_known
from replicate_job.flow.collect import LOCAL, result_of
from replicate_job.flow.context import Context, of_job
from replicate_job.flow.deadline import ExpiredError, deadline
from replicate_job.flow.job_run import check_key
from replicate_job.flow.reads import read
from replicate_job.flow.spot import spot
from replicate_job.job import Result
from replicate_job.journal.entry import Entry
from replicate_job.quantity import duration
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import read_prediction_id


async def find(context: Context, name: str) -> Entry | None:
    """The journal's entry with this key, or else the entry of this prediction at this API."""
    entry = await context.journal.get(name)
    if entry and entry.api == context.api:
        return entry
    return await context.journal.find(read_prediction_id(name), context.api)


async def observe(context: Context, name: str) -> Result:
    """The current state of a job. Data that the API has deleted are taken from the journal.

    Raises UnknownJobError if the job is unknown or has no prediction, and UncertainError if it may have a prediction.
    """
    try:
        entry = await _find_here(context, name)
    except DamagedError as error:
        context.reporter.warn(str(error))
        entry = None
    context = of_job(context, entry.job) if entry else context
    prediction_id = await _prediction_id(context, entry) if entry else read_prediction_id(name)
    prediction = await observe_prediction(context, prediction_id, entry)
    return result_of(prediction, entry, entry.files if entry else ())


async def _prediction_id(context: Context, entry: Entry) -> str:
    if found := entry.prediction_id or await spot(context, entry):
        return found
    if entry.state == "uncertain":
        raise UncertainError(f"the job {entry.key!r}: {entry.problem}", key=entry.key)
    if entry.state == "intended":
        advice = f"{context.line('resume')}, or the same key, finds out, and pays once"
        reason = "its create request may have been sent, and has no answer"
        raise UncertainError(f"the job {entry.key!r} may have a prediction: {reason}; {advice}", key=entry.key)
    advice = "run it again with the same key"
    raise UnknownJobError(f"the job {entry.key!r} has no prediction: its state is {entry.state}; {advice}")


async def observe_prediction(context: Context, prediction_id: str, entry: Entry | None) -> Prediction:
    """The current state of a prediction, completed with the journal's data. Raises UnknownJobError."""
    known = entry.prediction if entry else None
    try:
        prediction = await read(context, lambda: context.client.get_prediction(prediction_id))
    except NotFoundError:
        if known is None:
            raise await unknown(context, prediction_id) from None
        return known
    return prediction.with_data(known)


async def cancel(context: Context, name: str) -> Result | None:
    """Cancel a job. A job that has ended is not changed.

    Returns None if the job certainly has no prediction. Its key can then be used again.

    Raises UnknownJobError, UncertainError.
    """
    entry = await _find_here(context, name)
    context = of_job(context, entry.job) if entry else context
    if entry and entry.step == "done" and entry.prediction:
        return result_of(entry.prediction, entry, entry.files)
    if entry and not entry.prediction_id:
        prediction = await cancel_job(context, entry)
        return result_of(prediction, entry) if prediction else None
    try:
        prediction = await cancel_known(
            context, entry.prediction_id if entry and entry.prediction_id else read_prediction_id(name)
        )
    except NotFoundError:
        raise await unknown(context, name) from None
    return result_of(prediction, entry)


async def find_or_adopt(  # noqa: PLR0913 - the name, the key and place to use, and the time limit
    context: Context,
    name: str,
    *,
    key: str | None,
    save: str | None,
    timeout: float | None = None,  # noqa: ASYNC109 - `asyncio.timeout` could not say what the call leaves behind
    called: float = 0.0,
) -> Entry:
    """The journal's entry for this key or prediction. A prediction made elsewhere is added to the journal first.

    With ``key``, the prediction becomes the prediction of the job with that key. That job must not have a prediction
    yet. ``timeout`` is in seconds from ``called``, the clock's ``now`` at the call. Raises JobError, JobTimeoutError.
    """
    try:
        async with deadline(context.clock, math.inf if timeout is None else called + timeout):
            return await _find_or_adopt(context, name, key=key, save=save)
    except ExpiredError:
        told = f"the API did not tell of {name} within {duration(timeout or 0)}"
        goes_on = f"it is left as it is, and {context.line('wait', name)} goes on"
        result = Result(name, "starting", model="", input={})
        raise JobTimeoutError(f"{told}: {goes_on}", result) from None


async def _find_or_adopt(context: Context, name: str, *, key: str | None, save: str | None) -> Entry:
    if key is not None:
        check_key(key)
    elif entry := await _find_here(context, name):
        return entry
    try:
        return await adopt(context, read_prediction_id(name), key=key, save=save)
    except NotFoundError:
        raise await unknown(context, name) from None


async def unknown(context: Context, name: str) -> JobError:
    """The error for a name that is unknown at this API.

    The error says if the name is the key of a chain, or the key of a job at another API.
    """
    advice = "`replicate-job list` has those of this machine"
    if (entry := await context.journal.get(name)) and entry.api != context.api:
        if entry.api == LOCAL:
            shows = context.line("show", name, "--local")
            advice = f"the job of that key ran on this machine, without Replicate: {shows} shows it"
        else:
            advice = f"the job of that key is at {entry.api}: REPLICATE_BASE_URL={entry.api} shows it"
    elif any(step.api == context.api for step in await context.journal.steps_of(name)):
        shows = context.line("show", name)
        advice = f"it is the key of a chain, which goes on with the command that began it: {shows} shows it"
    return UnknownJobError(f"no prediction {name} at {context.client.base_url}: {advice}")


async def _find_here(context: Context, name: str) -> Entry | None:
    """Like ``find``, but raises UnknownJobError for the key of a job at another API, without asking this API."""
    entry = await find(context, name)
    if entry is None and await context.journal.get(name):
        raise await unknown(context, name)
    return entry
