"""The world's uses of product interfaces that may change, one function each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.api.client import Client
from replicate_job.batches.listing import SharedList
from replicate_job.clock import Clock
from replicate_job.flow.account import AccountNote
from replicate_job.flow.cancel import run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.listing import Listing
from replicate_job.flow.prepare import write_request
from replicate_job.flow.single_strategy import SingleStrategy
from replicate_job.flow.warm_up import prepare
from replicate_job.job import Job, Result
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.wire.target import parse_target

from .wire import BASE_URL

prepare(saves=False)  # otherwise the first plan of a process would have one more timer than the others


def open_journal(path: Path, clock: Clock, busy_timeout: float, token: str) -> Any:
    return SQLiteJournal(path, clock=clock, busy_timeout=busy_timeout, token=token)


def ask_account(client: Client, journal: Any) -> AccountNote:
    return AccountNote(BASE_URL, client, journal, is_needed=True)


async def run(  # noqa: PLR0913 - a job, and how to run it
    context: Context, key: str, job: Job, way: str, *, within: float | None, leave: Callable[[], bool]
) -> Result:
    """Run a job to its end.

    ``way``: ``held`` with its create held open, ``polled`` without, ``row`` as a batch does: the create request is made
    before the job is claimed, and recorded with the claim. ``within`` is its timeout, in seconds.
    """
    ask = Ask(job, key=key, blocking_wait=0 if way == "polled" else 60, timeout=within)
    request, slot = None, None
    if way == "row" and not await context.journal.look_up([key]):
        resolved = await context.strategy.resolve(context, parse_target(job.model))
        request = write_request(job, resolved, job.input_data)
        slot = await context.client.take_slot()
    return await run_or_cancel(context, ask, request, slot, leave=leave)


def alone() -> Any:
    return SingleStrategy()


class _SharingList(SingleStrategy):
    """Reads the list once for all jobs of a process, as a batch does."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._list = SharedList(context.client)

    async def read_list(self, context: Context, *, after: datetime, before: datetime) -> Listing:  # noqa: ARG002 - as declared
        return await self._list.read(after=after, before=before)

    def recorded(self, prediction_id: str) -> None:
        self._list.know(prediction_id)


def shared_scans(context: Context) -> Context:
    return msgspec.structs.replace(context, strategy=_SharingList(context))
