"""The progress of a fleet's batch."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from replicate_job.batches.progress import Tally
from replicate_job.decoding import decode
from replicate_job.fleet.budget import find_cost
from replicate_job.flow.context import Context
from replicate_job.journal.postgres_fleet import Counts, FleetBatch, FleetTables, Worker

ERRORS = 5
"""The number of different problems that are shown, beginning with the most frequent problem."""
SHARE = 9
"""The pause after a count is this many times as long as the count took."""
LATELY = 60.0
"""The time in seconds over which ``created_last_minute`` counts."""


class BatchStatus(msgspec.Struct, frozen=True):
    """The number of ``rows`` in all, and the numbers of rows that are ``waiting`` to be created, ``running``,
    ``saving`` their outputs, or over: ``succeeded``, ``failed`` (also canceled and aborted), ``wrong`` (no prediction).

    ``stopped`` is the reason why no more rows are created; empty while rows are created. ``rate`` is the batch's limit
    of create requests a minute, None for no limit. ``created_last_minute`` counts the predictions of all batches at
    this API. ``throttled``: the API has recently answered 429. ``oldest`` is the number of seconds since the oldest
    unfinished row was claimed. ``errors`` are the most frequent problems with their counts. ``workers`` are the live
    workers. ``max_cost`` is the cost limit, ``spent`` is the cost so far, and ``set_aside`` is the amount for jobs
    under way or uncertain. All three are in USD, and None without a limit.
    """  # noqa: D205 - one sentence

    id: str
    model: str
    rows: int
    waiting: int
    running: int
    saving: int
    succeeded: int
    failed: int
    wrong: int
    stopped: str
    rate: float | None
    created_last_minute: int
    throttled: bool
    oldest: float | None
    errors: dict[str, int]
    workers: list[Worker]
    spent: Decimal | None = None
    set_aside: Decimal | None = None
    max_cost: Decimal | None = None

    @property
    def is_over(self) -> bool:
        return self.succeeded + self.failed + self.wrong == self.rows


class _Limit(msgspec.Struct):
    pace: float | None = None
    refusals: int = 0


class _Rate(msgspec.Struct):
    state: _Limit


async def status_of(context: Context, tables: FleetTables, batch: FleetBatch) -> BatchStatus:
    """Read the status from the journal. The API is not asked."""
    tally = Tally()
    count(tally, await tables.counts(batch.number))
    state = await tables.rate_state(batch.api)
    limit = decode(state, _Rate).state if state else _Limit()
    cost = await find_cost(context, tables, batch)
    return BatchStatus(
        id=batch.id,
        model=batch.job.model,
        rows=tally.total or 0,
        waiting=tally.waiting,
        running=tally.running,
        saving=tally.saving,
        succeeded=tally.succeeded,
        failed=tally.failed,
        wrong=tally.wrong,
        stopped=batch.stopped,
        rate=None if batch.rate is None else batch.rate * 60,
        created_last_minute=await tables.made(batch.api, LATELY),
        throttled=limit.refusals > 0 or limit.pace is not None,
        oldest=await tables.oldest(batch.number),
        errors=dict(await tables.errors(batch.number, ERRORS)),
        workers=await tables.workers(batch.api),
        spent=cost.spent if cost else None,
        set_aside=cost.set_aside if cost else None,
        max_cost=cost.most if cost else None,
    )


async def workers_here(tables: FleetTables, api: str) -> list[Worker]:
    """The live workers on this host."""
    return [worker for worker in await tables.workers(api) if worker.host == socket.gethostname()]


def count(tally: Tally, counts: Sequence[Counts]) -> None:
    """Write the numbers of rows into the tally."""
    tally.waiting = tally.running = tally.saving = tally.succeeded = tally.failed = tally.wrong = 0
    for each in counts:
        if each.over:
            if each.state in {"collected", "ended", "created"}:
                tally.failed += each.rows if each.failed else 0
                tally.succeeded += 0 if each.failed else each.rows
            else:
                tally.wrong += each.rows
        elif each.state == "created":
            tally.running += each.rows
        elif each.state == "ended":
            tally.saving += each.rows
        else:
            tally.waiting += each.rows
    tally.total = tally.read = sum(each.rows for each in counts)


def pause(took: float, least: float) -> float:
    """Seconds until the next count, since counting a million rows is slow.

    ``took`` is the duration of the last count in seconds, and ``least`` the shortest pause.
    """
    return max(least, SHARE * took)


def is_over(counts: Sequence[Counts]) -> bool:
    return all(each.over for each in counts)
