"""How a row's job waits, looks its prediction up and downloads.

All rows share requests, download slots and the model's schema.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from copy import copy
from datetime import datetime
from typing import NamedTuple

from replicate_job.batches.download_queue import DownloadQueue
from replicate_job.batches.listing import SharedList
from replicate_job.batches.poller import Poller
from replicate_job.batches.progress import Tally
from replicate_job.flow.context import Context
from replicate_job.flow.listing import Listing
from replicate_job.flow.resolve import resolve
from replicate_job.flow.resolved import Resolved
from replicate_job.journal.entry import CreateRequest
from replicate_job.outputs.discover import find_files
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target


class Shared(NamedTuple):
    """The parts that all rows of a batch share, whatever their models."""

    poller: Poller
    list: SharedList
    downloads: DownloadQueue


class RowStrategy:
    """The ``Strategy`` of a batch's rows, for as long as the batch runs.

    ``batch`` is the batch's id, ``target`` the model as the job names it. ``shared`` has the parts of another model's
    strategy; None: new parts are made.
    """

    def __init__(  # noqa: PLR0913 - the batch, its model, and the shared parts
        self,
        context: Context,
        batch: str,
        target: Target,
        resolved: Resolved,
        tally: Tally,
        *,
        shared: Shared | None = None,
    ) -> None:
        self.batch, self._target = batch, target
        self._resolved, self._tally = resolved, tally
        self.shared = shared or Shared(Poller(context), SharedList(context.client), DownloadQueue(tally))

    def beside(self, target: Target, resolved: Resolved) -> RowStrategy:
        """The strategy for another model of the batch. It shares all other parts, so only ``self`` must be closed."""
        other = copy(self)
        other._target, other._resolved = target, resolved  # noqa: SLF001 - its own class
        return other

    def known(self, request: CreateRequest) -> Resolved | None:
        """The batch's model if the request is for the version of this model, else None.

        The name is not compared: it may mean a newer version now.
        """
        return self._resolved if self._resolved.makes(request.path, request.version) else None

    def recall(self, context: Context, target: Target) -> Resolved | None:  # noqa: ARG002 - a batch has one context
        return self._resolved if target == self._target else None

    async def resolve(self, context: Context, target: Target) -> Resolved:
        return self.recall(context, target) or await resolve(context, target)

    async def read_list(self, context: Context, *, after: datetime, before: datetime) -> Listing:  # noqa: ARG002 - it has its own
        return await self.shared.list.read(after=after, before=before)

    def recorded(self, prediction_id: str) -> None:
        self._tally.created += 1
        self.shared.list.know(prediction_id)

    async def wait(  # noqa: PLR0913 - see the protocol
        self,
        context: Context,  # noqa: ARG002 - it has its own
        prediction_id: str,
        last: Prediction | None,
        *,
        stored: Prediction | None,
        age: float,
        until: float,  # noqa: ARG002 - a batch waits for each end
        interval: float | None,  # noqa: ARG002
        soon: bool,  # noqa: ARG002
    ) -> Prediction:
        return await self.shared.poller.wait(prediction_id, last or stored, age=age)

    async def check_place(self, context: Context, save: str) -> None:
        """Do nothing: the batch has checked the place for all rows."""

    def keeps(self, context: Context, prediction: Prediction) -> bool:
        """Whether the output has files to keep. Text is in the row's record already."""
        if prediction.output is None:
            return False
        return bool(find_files(prediction.output, self._resolved.schema, origin=context.client.base_url))

    def saving(self, prediction: Prediction) -> AbstractAsyncContextManager[None]:
        return self.shared.downloads.slot(prediction)

    def settle_problem(self, context: Context, prediction: Prediction, problem: str) -> str:  # noqa: ARG002 - the row's record has it
        return problem

    def advise_uncertain(self, context: Context, key: str) -> str:  # noqa: ARG002 - the same for all rows
        return (
            "nothing is sent again by itself: the same batch looks again, and with --retry-uncertain (in Python "
            "retry_uncertain=True) makes a new one, which may be a second"
        )

    def advise_disk(self, context: Context) -> str:  # noqa: ARG002 - one advice for the whole batch
        return ""

    async def close(self) -> None:
        await self.shared.poller.close()
        await self.shared.list.close()
