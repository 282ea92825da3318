"""Rows of a fleet that run a chain. Creates the steps that can start, without waiting for the ends of steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from replicate_job.batches.attempts import attempt_key, attempt_of, attempts_before, has_failed
from replicate_job.batches.chains.jobs import KnownChain
from replicate_job.batches.chains.outputs import look_up_calls
from replicate_job.batches.chains.plan import ChainPlan
from replicate_job.batches.chains.run import ChainRun, merged
from replicate_job.batches.row_job import RowJob, another_input, is_of_row
from replicate_job.chain import Call
from replicate_job.errors import (
    BatchCanceledError,
    ClaimLostError,
    JobError,
    KeyInUseError,
    OutputExpiredError,
    ReplicateJobError,
)
from replicate_job.fleet.bring import bring
from replicate_job.fleet.budget import admit_jobs, release
from replicate_job.fleet.parts import Fleet, Rows
from replicate_job.fleet.plan import FleetPlan
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.job import Job, Outcome, Result
from replicate_job.journal.entry import Entry
from replicate_job.journal.group_commit import GroupCommit
from replicate_job.journal.postgres import CANCELED, canceled_row
from replicate_job.journal.postgres_fleet import FleetBatch, FleetRow, Stand
from replicate_job.outputs.place import of_row
from replicate_job.wire.prediction import TERMINAL, Prediction


async def run_chains(fleet: Fleet, rows: Rows, first: int, last: int) -> tuple[Sequence[BaseException | None], bool]:
    """Create the ready steps of the open chains in the rows ``first`` to ``last``, and close the chains that are over.

    Returns a list with each chain's error (None without an error), and whether a step has to wait for the cost limit.
    """
    assert rows.chain  # noqa: S101 - for the type checker: these rows are chains
    batch = rows.batch
    found = [row for row in await fleet.tables.rows(batch.number, first, last) if row.is_open]
    known = await calls_of(fleet.context, batch.id, rows.chain, found)
    admission = _Admission(fleet, rows)
    runs = [_RowChain(admission, row, known[row.name]) for row in found]
    outcomes = await asyncio.gather(*(run.run() for run in runs), return_exceptions=True)
    stands = [outcome for outcome in outcomes if isinstance(outcome, Stand)]
    if stands:
        await fleet.tables.stand(batch.number, stands)
    if created := [key for run in runs for key in run.created]:
        await fleet.tables.defer_ended(fleet.api, created)
    return [outcome if isinstance(outcome, BaseException) else None for outcome in outcomes], admission.is_full


class _Admission:
    """Admits calls of some rows within the batch's cost limit.

    ``is_full``: some calls were not admitted now, but may be admitted later.
    """

    def __init__(self, fleet: Fleet, rows: Rows) -> None:
        self.fleet, self.rows = fleet, rows
        self._together = GroupCommit(self._admit_all)
        self.is_full = False

    async def admit(self, key: str, job: Job) -> bool:
        return self.rows.plan.max_cost is None or await self._together.add((key, job))

    async def _admit_all(self, calls: Sequence[tuple[str, Job]]) -> list[bool]:
        admitted, is_full = await admit_jobs(self.fleet, self.rows, dict(calls))
        self.is_full = self.is_full or is_full
        return [key in admitted for key, _ in calls]

    async def release(self, key: str) -> None:
        if self.rows.plan.max_cost is not None:
            await release(self.fleet, self.rows, key)


async def calls_of(
    context: Context, batch: str, chain: ChainPlan, rows: Sequence[FleetRow]
) -> dict[str, dict[str, Entry]]:
    """Map each row's name to the row's calls: a mapping of the call's name to the call's last job.

    Calls that have not begun are left out. The calls are in the chain's order.
    """
    found = await look_up_calls(context, chain, batch, [f"{row.name}/" for row in rows])
    return {start.removesuffix("/"): calls for start, calls in found.items()}


class _RowChain:
    """One pass over a row's chain. ``known`` is the last job of each call that has begun, by the call's name.

    ``created`` has the keys of the jobs that the pass created.
    """

    def __init__(self, admission: _Admission, row: FleetRow, known: Mapping[str, Entry]) -> None:
        self._fleet, self._rows, self._admission = admission.fleet, admission.rows, admission
        self._row, self._known = row, known
        self._retried = {name for name, entry in known.items() if self._is_retried(entry)}
        self._keys = {name: entry.key for name, entry in known.items()}
        self.created: list[str] = []

    def _is_retried(self, entry: Entry) -> bool:
        plan = self._rows.plan
        is_due = plan.retry_uncertain if entry.state == "uncertain" else plan.retry_failed and has_failed(entry)
        return is_due and entry.claimed_at < self._rows.batch.started_at

    async def run(self) -> Stand:
        """Run the pass, and return the chain's progress. Raises an error that all rows share."""
        rows, row = self._rows, self._row
        assert rows.chain  # noqa: S101 - for the type checker: these rows are chains
        entries = {name: entry for name, entry in self._known.items() if name not in self._retried}
        values = (row.job or rows.batch.job).input_data
        outcomes = await ChainRun(rows.own.context, rows.chain, values, entries, self._call).run()
        for error in outcomes.values():
            if isinstance(error, KeyInUseError):
                error.args = (another_input(row.name),)
            if isinstance(error, ReplicateJobError) and not is_of_row(error):
                raise error
        at = next((name for name, outcome in outcomes.items() if not _is_good(outcome)), list(outcomes)[-1])
        outcome = outcomes[at]
        key = self._keys.get(at) or attempt_key(rows.batch.id, f"{row.name}/{at}")
        over = not any(isinstance(each, Result) and each.status not in TERMINAL for each in outcomes.values())
        problem = f"step {at}: {outcome}" if over and isinstance(outcome, ReplicateJobError) else ""
        return Stand(row.name, key, problem, over)

    async def _call(self, call: Call, job: Job, current: Entry | None, ended: Callable[[Prediction], None]) -> Result:
        """The call's result. Creates its job if needed. The status is ``starting`` until the call has ended."""
        entry = None if call.name in self._retried else current or self._known.get(call.name)
        if entry is None or entry.step in {"prepare", "look up"}:
            return await self._create(call, job, entry)
        if entry.prediction and entry.step in {"collect", "done"}:
            ended(entry.prediction)
        if entry.step != "done" or entry.prediction is None:
            return _under_way(job)
        result = result_of(entry.prediction, entry, entry.files)
        if entry.problem:
            raise OutputExpiredError(entry.problem, result)
        return result

    async def _create(self, call: Call, job: Job, entry: Entry | None) -> Result:
        batch, row = self._rows.batch, self._row
        known = self._known.get(call.name)
        number = attempt_of(batch.id, known) + (call.name in self._retried) if known else 1
        key = entry.key if entry else attempt_key(batch.id, f"{row.name}/{call.name}", number)
        if batch.stopped and entry is None:
            if batch.stopped == CANCELED:
                raise BatchCanceledError(canceled_row(batch.id, key))
            return _under_way(job)
        self._keys[call.name] = key
        if not await self._admission.admit(key, job):
            return _under_way(job)
        save = of_row(batch.save, row.line) if batch.save else None
        ask = Ask(job, key, save, blocking_wait=0, is_checked=True, chain_step=call.name)
        try:
            result = await bring(self._fleet, self._rows.model(call.step.model), ask, entry, batch.depot)
        except ClaimLostError:  # another process runs the job now
            return _under_way(job)
        except ReplicateJobError as error:
            if is_of_row(error):  # the error ends the row, so no later pass would release the amount
                await self._admission.release(key)
            raise
        self.created.append(key)
        return result or _under_way(job)


def _under_way(job: Job) -> Result:
    return Result("", "starting", job.model, {})


def _is_good(outcome: Outcome) -> bool:
    return isinstance(outcome, Result) and outcome.status == "succeeded" and not outcome.problem


async def chain_results(
    context: Context, batch: FleetBatch, plan: FleetPlan, chain: ChainPlan, rows: Sequence[FleetRow]
) -> list[Result]:
    """The results of rows whose chains are over. Each result has the earlier attempts of its calls."""
    known = await calls_of(context, batch.id, chain, rows)
    last = {f"{row}/{call}": entry for row, calls in known.items() for call, entry in calls.items()}
    before = await attempts_before(context, batch.id, last)
    earlier = {
        name: tuple(plan.result_of(entry) for entry in entries if _has_ended(entry)) for name, entries in before.items()
    }
    made = {
        name: msgspec.structs.replace(plan.result_of(entry), problem=entry.problem, earlier=earlier.get(name, ()))
        for name, entry in last.items()
        if _has_ended(entry)
    }
    results = []
    for row in rows:
        calls, values = known[row.name], (row.job or batch.job).input_data
        steps = {
            call: msgspec.structs.replace(made[name], line=row.line)
            for call in calls
            if (name := f"{row.name}/{call}") in made
        }
        outcomes = KnownChain(context, chain, values, calls).outcomes(steps)
        results.append(_chain_result(batch, row, outcomes))
    return results


def _has_ended(entry: Entry) -> bool:
    return entry.prediction is not None and entry.prediction.is_terminal


def _chain_result(batch: FleetBatch, row: FleetRow, outcomes: dict[str, Outcome]) -> Result:
    """The result of a chain that is over, from the ``outcomes`` of its calls."""
    failure = RowJob(row.line, row.name, row.job or batch.job, secrets=batch.secrets, grid=row.grid).failure
    at = row.key.rpartition("/")[2]
    if outcomes and row.problem and (at not in outcomes or _is_good(outcomes[at])):
        outcomes[at] = JobError(row.problem.removeprefix(f"step {at}: "))
    if not outcomes:
        return failure(row.problem)
    result = merged(outcomes, attempt_key(batch.id, row.name), failure)
    return msgspec.structs.replace(result, line=row.line, grid=row.grid)
