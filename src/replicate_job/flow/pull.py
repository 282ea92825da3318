"""Keeps the outputs of predictions that were made elsewhere, while the API still has the outputs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Literal

import msgspec

from replicate_job.errors import OutputExpiredError, ReplicateJobError
from replicate_job.flow.adopt import adopt
from replicate_job.flow.by_name import observe_prediction
from replicate_job.flow.collect import lacks_files, result_of
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.remote import pages
from replicate_job.flow.resume import resume
from replicate_job.job import Result
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target, read_prediction_id

SINCE = timedelta(hours=2)
"""The default age limit of pulled predictions. The API keeps outputs for an hour after a prediction's end."""

Fate = Literal["kept", "known", "running", "empty", "expired", "failed"]
"""The outcome for a prediction. ``kept``: kept now. ``known``: kept before. ``running``: not ended. ``empty``: ended
without an output. ``expired``: the API has deleted the output. ``failed``: not found, or not kept for another
reason."""


class Pulled(msgspec.Struct, frozen=True):
    """The outcome for one prediction. If ``fate`` is ``expired`` or ``failed``, ``error`` is the reason."""

    fate: Fate
    result: Result
    error: ReplicateJobError | None = None


class Pull(msgspec.Struct, frozen=True):
    """Keeps outputs in the place that their job names, or else in ``save``. With ``moves``, always in ``save``."""

    context: Context
    save: str
    moves: bool

    async def named(self, names: Sequence[str]) -> AsyncGenerator[Pulled, None]:
        """Pull these predictions, named by their ids or URLs. A prediction that was kept before costs no request."""
        items = [await self._judge(prediction_id) for prediction_id in dict.fromkeys(map(read_prediction_id, names))]
        async with aclosing(self._take(items)) as pulled:
            async for each in pulled:
                yield each

    async def recent(self, since: timedelta, model: Target | None = None) -> AsyncGenerator[Pulled, None]:
        """Pull the account's predictions up to this age, of all models or of one model, version or deployment."""
        async for page in pages(self.context, since=since):
            items = [await self._judge(each.id, each) for each in page if model is None or _is_of(each, model)]
            async with aclosing(self._take(items)) as pulled:
                async for each in pulled:
                    yield each

    async def _take(self, items: Sequence[Pulled | Ask]) -> AsyncGenerator[Pulled, None]:
        asks = []
        for item in items:
            if isinstance(item, Pulled):
                yield item
            else:
                asks.append(item)
        async with aclosing(resume(self.context, asks)) as outcomes:
            async for ask, outcome in outcomes:
                if isinstance(outcome, Result):
                    yield Pulled("kept", outcome)
                else:
                    yield _failure(outcome, ask.key, ask.job.model)

    async def _judge(self, prediction_id: str, prediction: Prediction | None = None) -> Pulled | Ask:
        """The outcome if it is known already, or else the job to run. ``prediction`` is from the account's list."""
        try:
            entry = await self.context.journal.find(prediction_id, self.context.api)
            if known := self._known(entry):
                return known
            if prediction is None:
                prediction = await observe_prediction(self.context, prediction_id, entry)
            else:
                prediction = prediction.with_data(entry.prediction if entry else None)
            result = result_of(prediction, entry)
            if not prediction.is_terminal:
                return Pulled("running", result)
            if prediction.output is None and prediction.data_removed and prediction.status == "succeeded":
                return _failure(OutputExpiredError("the API has deleted its output", result), prediction_id)
            if prediction.output is None:
                return Pulled("empty", result)
            entry = entry or await adopt(self.context, prediction_id, key=None, save=self.save, prediction=prediction)
        except ReplicateJobError as error:
            return _failure(error, prediction_id, (prediction and prediction.model) or "")
        job = msgspec.structs.replace(entry.job, wait_for_completion=True)
        return Ask(job, entry.key, self._place(entry))

    def _known(self, entry: Entry | None) -> Pulled | None:
        """The outcome of an earlier run; None if the outputs are still to be kept."""
        if entry is None or entry.step != "done" or lacks_files(entry, self._place(entry)):
            return None
        if entry.prediction is None:  # its data were pruned, and only jobs that are over are pruned
            result = Result(str(entry.prediction_id), str(entry.status), entry.job.model, {}, key=entry.key)
            return Pulled("known", result)
        result = result_of(entry.prediction, entry, entry.files)
        if entry.problem:
            return _failure(OutputExpiredError(entry.problem, result), result.prediction_id)
        return Pulled("known" if entry.prediction.output is not None else "empty", result)

    def _place(self, entry: Entry) -> str:
        return self.save if self.moves else entry.save or self.save


def _failure(error: ReplicateJobError, prediction_id: str, model: str = "") -> Pulled:
    result = error.result or Result(prediction_id, "error", model, {})
    fate: Fate = "expired" if isinstance(error, OutputExpiredError) else "failed"
    return Pulled(fate, msgspec.structs.replace(result, problem=str(error)), error)


def _is_of(prediction: Prediction, model: Target) -> bool:
    if model.kind == "deployment":
        return (prediction.deployment or "").lower() == model.slug.lower()
    if model.version and prediction.version != model.version:
        return False
    return not model.slug or (prediction.model or "").lower() == model.slug.lower()
