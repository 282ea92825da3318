"""The cost limit of a batch, shared by all workers: a row is created only after an amount is set aside for the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from replicate_job.batches.budget import Budget, Cost, limit_cost
from replicate_job.batches.prices import learn
from replicate_job.batches.progress import Tally
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import Batch
from replicate_job.fleet.next import next_job
from replicate_job.fleet.parts import Fleet, Rows
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.inputs.secrets import hide
from replicate_job.job import Job
from replicate_job.journal.postgres_budget import Account, Hold, NewAccount
from replicate_job.journal.postgres_fleet import FleetBatch, FleetRow, FleetTables

LEARNED = 5.0
"""Seconds for which a worker caches the usual cost of predictions. While no cost is known, each call reads the
journal."""
_UNSENT = {None, "claimed"}
_OPEN = {*_UNSENT, "intended", "created"}
"""States of jobs whose cost is not known yet."""


class OpenLimit(NamedTuple):
    """A batch's cost limit with the cost so far (``cost``), and the account that the batch gets at its submission."""

    cost: Cost
    account: NewAccount

    def state(self, runner: BatchRunner, rows: int) -> str:
        """A message that says the cost so far, and by how much this number of rows may exceed the limit."""
        return self.cost.state(runner.bound(self.cost, rows))


async def open_limit(context: Context, tables: FleetTables, batch: Batch, runner: BatchRunner) -> OpenLimit | None:
    """Read the cost limit of a batch. None for a batch without a limit."""
    cost = await runner.open_cost()
    if cost is None:
        return None
    account = await tables.budgets.read(batch.id)
    budget = Budget([cost], Tally(), lambda _: None)
    await budget.open(context, batch.id)
    holds = tuple(_hold(key, job, runner.secrets) for key, job in budget.held.items())
    return OpenLimit(cost, NewAccount(cost.spent, holds, account.seen if account else None))


async def admit(fleet: Fleet, rows: Rows, due: Sequence[FleetRow]) -> tuple[list[FleetRow], bool]:
    """The rows that may be created now, and whether the other rows may be created later.

    If no row may be created, now or later, the batch is stopped.
    """
    if rows.plan.max_cost is None or not due:
        return list(due), False
    jobs = {row.key: row.entry.job if row.entry else await next_job(rows, row) for row in due}
    admitted, is_full = await admit_jobs(fleet, rows, jobs)
    return [row for row in due if row.key in admitted], is_full


async def admit_jobs(fleet: Fleet, rows: Rows, jobs: Mapping[str, Job]) -> tuple[set[str], bool]:
    """The keys of the jobs that may be created now, and whether the other jobs may be created later. See ``admit``.

    ``jobs`` maps keys to jobs.
    """
    if rows.plan.max_cost is None:
        return set(jobs), False
    while True:
        account = await fleet.tables.budgets.read(rows.batch.id)
        if account is None:
            return set(), True
        cost = await _open_cost(fleet, rows, account)
        admitted, holds, released = await _choose(rows, account, cost, jobs)
        is_same = not holds and not released
        if is_same or await fleet.tables.budgets.change(
            rows.batch.id, account, cost.spent, released=released, holds=holds
        ):
            break
    if len(admitted) == len(jobs):
        return admitted, False
    is_open = holds or any(each.state in _OPEN and each.hold.key not in released for each in account.held)
    if not is_open:
        await fleet.tables.stop(rows.batch.number, cost.reason())
    return admitted, bool(is_open)


async def release(fleet: Fleet, rows: Rows, key: str) -> None:
    """Release the amount that is set aside for this job, if the job was certainly not sent."""
    while account := await fleet.tables.budgets.read(rows.batch.id):
        if not any(each.hold.key == key and each.state in {*_UNSENT, "refused"} for each in account.held):
            return
        if await fleet.tables.budgets.change(rows.batch.id, account, account.spent, released=[key], holds=[]):
            return


async def find_cost(context: Context, tables: FleetTables, batch: FleetBatch) -> Cost | None:
    """The batch's cost so far, with the amounts set aside. None without a limit. Changes nothing."""
    fleet = Fleet(context, tables)
    rows, account = await fleet.rows_of(batch), await tables.budgets.read(batch.id)
    if rows.plan.max_cost is None or account is None:
        return None
    cost = await _open_cost(fleet, rows, account)
    await _choose(rows, account, cost, {})
    return cost


async def _open_cost(fleet: Fleet, rows: Rows, account: Account) -> Cost:
    most = rows.plan.max_cost
    assert most is not None  # noqa: S101 - for the type checker: a batch with an account has a limit
    prices, now = rows.plan.prices, fleet.context.clock.now()
    if not all(rows.learned.get(name) for name in prices) or now >= rows.learned_until:
        rows.learned = {name: await learn(fleet.context, name, price) for name, price in prices.items()}
        rows.learned_until = now + LEARNED
    models = {name: model for name, model in rows.models.items() if name in prices}
    cost = limit_cost(most, prices, models, rows.learned, rows.cancel_after)
    cost.spent = account.spent
    return cost


async def _choose(
    rows: Rows, account: Account, cost: Cost, jobs: Mapping[str, Job]
) -> tuple[set[str], list[Hold], list[str]]:
    """The keys that are admitted, the amounts to set aside for them, and the keys whose amounts are released.

    Adds the costs of ended predictions, and the amounts set aside, to ``cost``.
    """
    released: list[str] = []
    ended = [each.hold.key for each in account.held if each.has_ended]
    entries = await rows.own.context.journal.look_up(ended) if ended else {}
    held = set[str]()
    for each in account.held:
        key, entry = each.hold.key, entries.get(each.hold.key)
        model = each.hold.job.model
        used = cost.used(result_of(entry.prediction, entry), model) if entry and entry.prediction else None
        is_unsent = each.state == "refused" or (each.state in _UNSENT and each.is_wrong)
        if used is not None:
            released.append(key)
            cost.spend(used, model)
        elif is_unsent and key not in jobs:
            released.append(key)
        else:
            held.add(key)
            cost.hold(each.hold.job.input_data, model=model)
    admitted = set[str]()
    holds: list[Hold] = []
    for key, job in jobs.items():
        if key not in held:
            if not cost.admits(job.input_data, job.model):
                continue
            cost.hold(job.input_data, model=job.model)
            holds.append(_hold(key, job, rows.model(job.model).resolved.secrets))
        admitted.add(key)
    return admitted, holds, released


def _hold(key: str, job: Job, secrets: Sequence[str]) -> Hold:
    return Hold(key, msgspec.structs.replace(job, input_data=hide(job.input_data, secrets)))
