"""Rows of a fleet that are chains: the steps that can begin are created, and nothing waits for their ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from replicate_job.batches.attempts import attempt_key, attempt_of, has_failed
from replicate_job.batches.chains.jobs import KnownChain
from replicate_job.batches.chains.outputs import look_up_calls
from replicate_job.batches.chains.plan import ChainPlan
from replicate_job.batches.chains.run import ChainRun, merged
from replicate_job.batches.row_job import RowJob, another_input, is_of_row
from replicate_job.chain import Call
from replicate_job.errors import ClaimLostError, JobError, KeyInUseError, OutputExpiredError, ReplicateJobError
from replicate_job.fleet.bring import bring
from replicate_job.fleet.parts import Fleet, Rows
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.job import Job, Outcome, Result
from replicate_job.journal.entry import Entry
from replicate_job.journal.postgres_fleet import CANCELED, CANCELED_ROW, FleetBatch, FleetRow, Stand
from replicate_job.outputs.place import of_row
from replicate_job.wire.prediction import TERMINAL, Prediction


async def run_chains(fleet: Fleet, rows: Rows, first: int, last: int) -> Sequence[BaseException | None]:
    """Create what can begin in the open chains of these lines, and close those that are over; give each one's error."""
    assert rows.chain  # noqa: S101 - its rows are chains
    batch = rows.batch
    found = [row for row in await fleet.tables.rows(batch.number, first, last) if row.is_open]
    known = await calls_of(fleet.context, batch.id, rows.chain, found)
    runs = [_RowChain(fleet, rows, row, known[row.name]) for row in found]
    outcomes = await asyncio.gather(*(run.run() for run in runs), return_exceptions=True)
    stands = [outcome for outcome in outcomes if isinstance(outcome, Stand)]
    if stands:
        await fleet.tables.stand(batch.number, stands)
    if created := [key for run in runs for key in run.created]:
        await fleet.tables.defer_ended(fleet.api, created)
    return [outcome if isinstance(outcome, BaseException) else None for outcome in outcomes]


async def calls_of(
    context: Context, batch: str, chain: ChainPlan, rows: Sequence[FleetRow]
) -> dict[str, dict[str, Entry]]:
    """The last job of each call that was begun, in the chain's order, by the names of the rows."""
    found = await look_up_calls(context, chain, batch, [f"{row.name}/" for row in rows])
    return {start.removesuffix("/"): calls for start, calls in found.items()}


class _RowChain:
    """One look at a row's chain. ``created`` has the keys of the jobs that were created."""

    def __init__(self, fleet: Fleet, rows: Rows, row: FleetRow, known: Mapping[str, Entry]) -> None:
        self._fleet, self._rows, self._row, self._known = fleet, rows, row, known
        self._retried = {name for name, entry in known.items() if self._is_retried(entry)}
        self._keys = {name: entry.key for name, entry in known.items()}
        self.created: list[str] = []

    def _is_retried(self, entry: Entry) -> bool:
        plan = self._rows.plan
        is_due = plan.retry_uncertain if entry.state == "uncertain" else plan.retry_failed and has_failed(entry)
        return is_due and entry.claimed_at < self._rows.batch.started_at

    async def run(self) -> Stand:
        """Where it stands then. Raises what all rows share."""
        rows, row = self._rows, self._row
        assert rows.chain  # noqa: S101 - its rows are chains
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
        """The call's result, or one without an end where that is not there yet."""
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
        if batch.stopped and entry is None:
            if batch.stopped == CANCELED:
                raise JobError(CANCELED_ROW)
            return _under_way(job)
        known = self._known.get(call.name)
        number = attempt_of(batch.id, known) + (call.name in self._retried) if known else 1
        key = entry.key if entry else attempt_key(batch.id, f"{row.name}/{call.name}", number)
        self._keys[call.name] = key
        save = of_row(batch.save, row.line) if batch.save else None
        ask = Ask(job, key, save, blocking_wait=0, is_checked=True, chain_step=call.name)
        try:
            result = await bring(self._fleet, self._rows.model(call.step.model), ask, entry, batch.depot)
        except ClaimLostError:  # another process has it now
            return _under_way(job)
        self.created.append(key)
        return result or _under_way(job)


def _under_way(job: Job) -> Result:
    return Result("", "starting", job.model, {})


def _is_good(outcome: Outcome) -> bool:
    return isinstance(outcome, Result) and outcome.status == "succeeded" and not outcome.problem


def chain_result(
    context: Context, batch: FleetBatch, chain: ChainPlan, row: FleetRow, calls: Mapping[str, Entry]
) -> Result:
    """The result of a row whose chain is over."""
    failure = RowJob(row.line, row.name, row.job or batch.job, secrets=batch.secrets, grid=row.grid).failure
    results: dict[str, Result] = {}
    for name, entry in calls.items():
        if entry.prediction and entry.prediction.is_terminal:
            result = result_of(entry.prediction, entry, entry.files)
            results[name] = msgspec.structs.replace(result, line=row.line, problem=entry.problem)
    outcomes = KnownChain(context, chain, (row.job or batch.job).input_data, calls).outcomes(results)
    at = row.key.rpartition("/")[2]
    if outcomes and row.problem and (at not in outcomes or _is_good(outcomes[at])):
        outcomes[at] = JobError(row.problem.removeprefix(f"step {at}: "))
    if not outcomes:
        return failure(row.problem)
    result = merged(outcomes, attempt_key(batch.id, row.name), failure)
    return msgspec.structs.replace(result, line=row.line, grid=row.grid)
