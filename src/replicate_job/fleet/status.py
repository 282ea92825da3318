"""Where a batch of a fleet stands."""

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
"""The most frequent problems that are shown."""
SHARE = 9
"""How many times as long as counting the pause after it is."""
LATELY = 60.0
"""Seconds over which the pace is counted."""


class BatchStatus(msgspec.Struct, frozen=True):
    """``rows`` in all: ``waiting`` to be created, ``running``, ``saving`` their outputs, or over: ``succeeded``,
    ``failed`` (also canceled and aborted), ``wrong`` (no prediction).

    ``stopped`` says why nothing is created any more; empty while the batch goes on. ``rate`` is the most creates a
    minute that were asked for, None for no limit; ``created_last_minute`` counts those of all batches at the API.
    ``throttled``: the API has answered 429 lately. ``oldest`` is how many seconds ago the oldest row under way was
    taken up. ``errors`` are the most frequent problems, with their counts. ``workers`` are those that live. In USD:
    what is ``spent`` of ``max_cost``, and ``set_aside`` for what is under way or uncertain; None without a limit.
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
    """Read it all from the journal; the API is not asked."""
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
    """The workers of this host that live."""
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
    """Seconds until the rows are counted again, which took so many: a million rows are not counted all the time."""
    return max(least, SHARE * took)


def is_over(counts: Sequence[Counts]) -> bool:
    return all(each.over for each in counts)
