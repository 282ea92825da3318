"""The account's list of predictions, read once for all jobs that look up a prediction in it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import datetime

import msgspec

from replicate_job.errors import ReplicateJobError
from replicate_job.flow.background import Background
from replicate_job.flow.listing import Listing, Pages, read_list

REMEMBERED = 20_000
"""The most prediction ids that are remembered as owned by a job. A forgotten id costs one query of the journal."""


class _Asked(msgspec.Struct, eq=False):
    after: datetime
    before: datetime
    found: asyncio.Future[Listing]

    def failed(self, error: BaseException) -> None:
        if not self.found.done():
            self.found.set_exception(error)


class SharedList:
    """Reads the list for many callers. A caller that asks during a reading gets the result of the next reading."""

    def __init__(self, client: Pages) -> None:
        self._client = client
        self._asked: list[_Asked] = []
        self._served: list[_Asked] = []
        self._background = Background(self._fail)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._reading: asyncio.Task[None] | None = None

    def know(self, prediction_id: str) -> None:
        """Leave this prediction out of later readings: a create request returned it, and the journal has it."""
        self._known[prediction_id] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def read(self, *, after: datetime, before: datetime) -> Listing:
        """The predictions created from ``after`` to ``before`` that no job is known to own.

        The result may cover a wider time span, since callers share a reading. Raises the errors of the list requests,
        and any other error that ended the reading.
        """
        asked = _Asked(after, before, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if self._reading is None or self._reading.done():
            self._reading = self._background.start(self._serve())
        return await asked.found

    def _fail(self, error: BaseException) -> None:
        failed, self._served, self._asked = [*self._served, *self._asked], [], []
        for each in failed:
            each.failed(error)

    async def close(self) -> None:
        await self._background.close()

    async def _serve(self) -> None:
        while self._asked:
            asked = self._served = self._asked
            self._asked = []
            try:
                after, before = min(each.after for each in asked), max(each.before for each in asked)
                found = await read_list(self._client, after=after, before=before, known=self._known)
            except ReplicateJobError as error:
                for each in asked:
                    each.failed(error)
            else:
                for each in asked:
                    if not each.found.done():
                        each.found.set_result(found)
