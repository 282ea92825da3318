"""Opens the runner of a batch: for a model, or for a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_job.batches.progress import Tally
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import Batch
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved

if TYPE_CHECKING:
    from replicate_job.batches.chains.plan import ChainPlan


def open_runner(context: Context, batch: Batch, model: Resolved | ChainPlan, tally: Tally) -> BatchRunner:
    """The ``BatchRunner`` for a model, or the ``ChainRunner`` for a chain."""
    if isinstance(model, Resolved):
        return BatchRunner(context, batch, model, tally)
    from replicate_job.batches.chains.runner import ChainRunner  # noqa: PLC0415 - for chains only

    return ChainRunner(context, batch, model, tally)
