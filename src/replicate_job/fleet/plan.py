"""What a batch of a fleet does for a row besides its first job, as every worker is told."""

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
    """``models`` are those beside the batch's own, by their names, as they were at the submit; also of earlier submits.

    ``policy`` says which attempts follow a failed one; None for none. ``shares``: rows with the same input share jobs.
    ``steps`` are those of a chain, with its ``title``; what failed of it before the submit, or is uncertain, gets a new
    job with ``retry_failed``, ``retry_uncertain``. ``max_cost`` is the most that the batch may cost (USD), ``prices``
    what its models cost, by their names, where that was said or is needed.
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
        """Whether jobs may follow a row's first one."""
        return self.policy is not None or bool(self.steps)

    @property
    def chain(self) -> ChainPlan | None:
        """The chain that rows are inputs of; None where they are those of a model."""
        if not self.steps:
            return None
        from replicate_job.batches.chains.plan import ChainPlan  # noqa: PLC0415 - for chains only

        models = {step.name: self.models[step.model] for step in self.steps}
        return ChainPlan(Chain(self.steps, self.title), models)

    def result_of(self, entry: Entry) -> Result:
        """The result of a job whose prediction has ended, with the price that the batch has for its model."""
        assert entry.prediction  # noqa: S101 - it has ended
        result = result_of(entry.prediction, entry, entry.files)
        return with_price(result, self.prices[entry.job.model]) if entry.job.model in self.prices else result


def plan_of(batch: FleetBatch) -> FleetPlan:
    return decode(batch.plan.encode(), FleetPlan) if batch.plan else FleetPlan()
