"""The plan of a fleet's batch: which jobs follow the first job of a row. It is stored for all workers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from replicate_job.batches.prices import with_price
from replicate_job.chain import Chain, Step
from replicate_job.decoding import decode
from replicate_job.flow.collect import result_of
from replicate_job.flow.policy import Policy
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Result
from replicate_job.journal.entry import Entry
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.pricing.price import Price

if TYPE_CHECKING:
    from replicate_job.batches.chains.plan import ChainPlan


class FleetPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """``models`` are the models besides the batch's own, by name, as resolved at this or an earlier submission.

    ``policy`` decides about further attempts; None without further attempts. ``shares``: rows with the same input share
    jobs. ``steps`` and ``title`` are the steps and the title of a chain, empty without a chain. With ``retry_failed``
    and ``retry_uncertain``, steps that failed or were uncertain before the submission get new jobs. ``max_cost`` is the
    batch's cost limit in USD. ``prices`` are the prices of the batch's models by name. They are empty if there is no
    cost limit and no price was given.
    """

    models: dict[str, Resolved] = {}
    policy: Policy | None = None
    shares: bool = False
    steps: tuple[Step, ...] = ()
    title: str = ""
    max_cost: Decimal | None = None
    prices: dict[str, Price] = {}
    retry_failed: bool = False
    retry_uncertain: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether a row can have further jobs: attempts or chain steps."""
        return self.policy is not None or bool(self.steps)

    @property
    def chain(self) -> ChainPlan | None:
        """The chain that each row runs with its input. None if each row runs a model."""
        if not self.steps:
            return None
        from replicate_job.batches.chains.plan import ChainPlan  # noqa: PLC0415 - for chains only

        models = {step.name: self.models[step.model] for step in self.steps}
        return ChainPlan(Chain(self.steps, self.title), models)

    def result_of(self, entry: Entry) -> Result:
        """The result of a job whose prediction has ended, with the batch's price for its model."""
        assert entry.prediction  # noqa: S101 - for the type checker: the prediction has ended
        result = result_of(entry.prediction, entry, entry.files)
        return with_price(result, self.prices[entry.job.model]) if entry.job.model in self.prices else result


def plan_of(batch: FleetBatch) -> FleetPlan:
    return decode(batch.plan.encode(), FleetPlan) if batch.plan else FleetPlan()
