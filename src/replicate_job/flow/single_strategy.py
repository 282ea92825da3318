"""The strategy of a job without a batch, which sends its own requests and reports to its own user."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime

from replicate_job.flow.context import Context
from replicate_job.flow.listing import Listing, read_list
from replicate_job.flow.resolve import resolve
from replicate_job.flow.resolved import Resolved
from replicate_job.flow.wait import Watch, wait
from replicate_job.journal.entry import CreateRequest
from replicate_job.outputs.place import check_place
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

REMEMBERED = 300.0
"""Seconds for which a model's newest version and schema are cached. After that a name may mean a newer version."""


class SingleStrategy:
    """The ``Strategy`` of single jobs, and of a session's requests about models."""

    batch = None

    def __init__(self) -> None:
        self._models: dict[Target, tuple[float, Resolved]] = {}

    def known(self, request: CreateRequest) -> Resolved | None:
        models = (resolved for _, resolved in self._models.values())
        return next((resolved for resolved in models if resolved.makes(request.path, request.version)), None)

    def recall(self, context: Context, target: Target) -> Resolved | None:
        """The API's answer about this model, if it is at most ``REMEMBERED`` seconds old."""
        asked, resolved = self._models.get(target, (-math.inf, None))
        return resolved if context.clock.now() <= asked + REMEMBERED else None

    async def resolve(self, context: Context, target: Target) -> Resolved:
        """Return the cached answer about this model, or ask the API."""
        resolved = self.recall(context, target)
        if resolved is None:
            resolved = await resolve(context, target)
            self.remember(target, resolved, now=context.clock.now())
        return resolved

    def remember(self, target: Target, resolved: Resolved, *, now: float) -> None:
        self._models[target] = now, resolved

    async def read_list(self, context: Context, *, after: datetime, before: datetime) -> Listing:
        return await read_list(context.client, after=after, before=before)

    def recorded(self, prediction_id: str) -> None:
        """Do nothing: no other job shares the list that this job reads."""

    async def wait(  # noqa: PLR0913 - the Strategy protocol sets the parameters
        self,
        context: Context,
        prediction_id: str,
        last: Prediction | None,
        *,
        stored: Prediction | None,  # noqa: ARG002 - it polls the API instead
        age: float,
        until: float,
        interval: float | None,
        soon: bool,
    ) -> Prediction:
        with context.journal.news(prediction_id) as news:
            watch = Watch(context, prediction_id, age=age, news=news)
            return await wait(watch, last, until=until, interval=interval, soon=soon)

    async def check_place(self, context: Context, save: str) -> None:
        await check_place(save, context.stores)

    def keeps(self, context: Context, prediction: Prediction) -> bool:  # noqa: ARG002 - the protocol has the parameter
        return prediction.output is not None

    def saving(self, prediction: Prediction) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 - no queue
        return nullcontext()

    def settle_problem(self, context: Context, prediction: Prediction, problem: str) -> str:
        if problem:
            context.reporter.warn(f"{prediction.id}: {problem}")
        return ""

    def advise_uncertain(self, context: Context, key: str) -> str:
        looks = f"nothing is sent again by itself: {context.line('resume')} looks again"
        if context.ephemeral:  # an ephemeral API's predictions end with it: `wait ID --key` would not find them
            return looks
        return f"{looks}, {context.line('wait', 'ID', '--key', key)} takes that prediction for this job"

    def advise_disk(self, context: Context) -> str:
        return "" if context.ephemeral else f"; {context.line('resume', '--save', 'DIR')} keeps it elsewhere"
