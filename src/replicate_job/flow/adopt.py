"""Adds to the journal a prediction that was made elsewhere, or whose create request got no answer."""

from __future__ import annotations

from replicate_job.errors import JobError
from replicate_job.flow.claim import held, take
from replicate_job.flow.context import Context, of_job
from replicate_job.flow.reads import read
from replicate_job.job import Job
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction


async def adopt(
    context: Context, prediction_id: str, *, key: str | None, save: str | None, prediction: Prediction | None = None
) -> Entry:
    """The journal's entry for a prediction. A prediction made elsewhere is added to the journal first.

    ``prediction`` is the prediction's current state; if None, the API is asked. With ``key``, the prediction becomes
    the prediction of the job with that key. That job must not have a prediction yet. Raises JobError, NotFoundError.
    """
    known = await context.journal.find(prediction_id, context.api)
    if known and key in {None, known.key}:
        return known
    if known:
        raise JobError(f"{prediction_id} is the prediction of the job {known.key!r} already")
    waiting = await context.journal.get(key) if key is not None else None
    context = of_job(context, waiting.job) if waiting else context
    if prediction is None:
        prediction = await read(context, lambda: context.client.get_prediction(prediction_id))
    # The job has no input: an input from the API's answer must never be sent again.
    job = waiting.job if waiting else Job(_model(prediction))
    save = waiting.save if waiting else save
    claim = await take(
        context, prediction_id if key is None else key, job, save, within=job.budget, prediction=prediction
    )
    async with held(context, claim):
        if claim.entry.prediction_id != prediction_id:
            raise JobError(f"the job {claim.key!r} has the prediction {claim.entry.prediction_id} already")
    return claim.entry


def _model(prediction: Prediction) -> str:
    if prediction.version and prediction.version != "hidden":
        return f"{prediction.model}:{prediction.version}" if prediction.model else prediction.version
    return prediction.model or "unknown/unknown"
