"""Runs a chain for each row of a batch. A row begins its next step without waiting for other rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from replicate_job.batches.attempts import attempt_key, attempts_before, has_failed
from replicate_job.batches.budget import Cost, bound
from replicate_job.batches.chains.jobs import KnownChain
from replicate_job.batches.chains.outputs import look_up_calls
from replicate_job.batches.chains.plan import ChainPlan, prices_by_model
from replicate_job.batches.chains.run import ChainRun, merged
from replicate_job.batches.progress import Tally
from replicate_job.batches.row_job import RowJob, another_input, is_of_row
from replicate_job.batches.runner import BatchRunner, RowStep
from replicate_job.batches.spec import Batch
from replicate_job.batches.strategy import RowStrategy
from replicate_job.chain import MOST, Call, Step
from replicate_job.errors import InputError, JobError, KeyInUseError, ReplicateJobError
from replicate_job.flow.collect import lacks_files
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target


class _Row(Entry, frozen=True):
    """The entry of a chain's row: the entry of its first call that has not succeeded, or else of its last call.

    ``steps`` has the last attempt of each call, ``earlier`` the attempts before that. Both are by the call's name.
    """

    steps: dict[str, Entry] = msgspec.field(default_factory=dict)
    earlier: dict[str, tuple[Entry, ...]] = msgspec.field(default_factory=dict)


class ChainRunner(BatchRunner):
    """A ``BatchRunner`` whose rows are inputs of a chain. Each step has a key of its own, ``<batch>/<row>/<step>``."""

    def __init__(self, context: Context, batch: Batch, plan: ChainPlan, tally: Tally) -> None:
        if batch.grid and batch.grid.models:
            raise JobError("models is for a batch of one model: a chain's steps have their own")
        self._plan = plan
        batch = msgspec.structs.replace(batch, prices=prices_by_model(plan.chain, batch.prices))
        super().__init__(context, batch, plan.resolved, tally, plan.resolved.target)
        self._contexts = {step.name: self._step_context(step) for step in plan.chain.steps}

    def _find_prices(self) -> None:
        for step in self._plan.chain.steps:
            self._find_price(step.model, self._plan.models[step.name], called=step.name)

    async def _begin_estimates(self) -> None:
        for step in self._plan.chain.steps:
            await self._begin_estimate(step.name, step.model, self._plan.models[step.name])

    def _estimate(self, item: RowJob, entry: Entry | None) -> None:
        made = {name for name, each in _steps(entry).items() if each.prediction_id and not self._is_retried(each)}
        for step in self._plan.chain.steps:
            if (estimate := self.estimates.get(step.name)) and step.name not in made:
                known, _ = self._plan.chain.known_input(step.name, item.job.input_data)
                estimate.add(known, None if step.for_each else 1, MOST)

    def _cancel_after(self, model: str) -> str | None:
        return self._plan.cancel_after(model)

    @property
    def _paid_models(self) -> dict[str, Resolved]:
        return self._plan.by_model

    def bound(self, cost: Cost, together: int) -> str:
        chain = self._plan.chain
        asked = [
            cost.asks(chain.known_input(step.name, None)[0], step.model).times(MOST if step.for_each else 1)
            for step in chain.steps
        ]
        return bound([sum(asked[1:], asked[0])], together)

    def _step_context(self, step: Step) -> Context:
        target, resolved = parse_target(step.model), self._plan.models[step.name]
        shared = self._strategy.shared
        strategy = RowStrategy(self._context, self._batch.id, target, resolved, self.tally, shared=shared)
        return msgspec.structs.replace(self._context, strategy=strategy)

    def _check(self, item: RowJob) -> str:
        if item.problem:
            return item.problem
        problems = self._plan.check(item.job.input_data)
        return str(InputError(item.job.model, problems)) if problems else ""

    async def _look_up(self, items: list[RowJob]) -> dict[str, Entry]:
        starts = {f"{item.name}/": item.name for item in items if item.name}
        found = await look_up_calls(self._context, self._plan, self._batch.id, starts)
        every = {f"{start}{call}": entry for start, begun in found.items() for call, entry in begun.items()}
        before = await attempts_before(self._context, self._batch.id, every)
        rows: dict[str, Entry] = {}
        for start, name in starts.items():
            if begun := found[start]:
                at = next((entry for entry in begun.values() if not _succeeded(entry)), None)
                earlier = {call: before.get(f"{start}{call}", ()) for call in begun}
                rows[name] = _Row(
                    **msgspec.structs.asdict(at or list(begun.values())[-1]), steps=begun, earlier=earlier
                )
        return rows

    def _find_problem(self, item: RowJob, entry: Entry | None) -> str:
        steps = {name: each for name, each in _steps(entry).items() if not self._is_retried(each)}
        return self._check(item) or ("" if self._known(item, steps).is_same else another_input(item.name))

    def _row_key(self, item: RowJob, entry: Entry | None) -> str:  # noqa: ARG002 - its steps have keys of their own
        return attempt_key(self._batch.id, item.name)

    def _lacks_files(self, entry: Entry) -> bool:
        return any(lacks_files(each, self._batch.save) for each in _steps(entry).values())

    def _runs(self, entry: Entry) -> bool:  # noqa: ARG002 - its later steps are still to be created
        return False

    def _is_made(self, item: RowJob, entry: Entry) -> bool:
        """Whether the row is over: all steps have succeeded, or a step has failed and no prediction runs."""
        steps = _steps(entry)
        if any(each.step != "done" or each.prediction is None or self._is_retried(each) for each in steps.values()):
            return False
        known = self._known(item, steps)
        return known.is_same and (known.is_whole or not all(map(_succeeded, steps.values())))

    def _known(self, item: RowJob, calls: Mapping[str, Entry]) -> KnownChain:
        return KnownChain(self._context, self._plan, item.job.input_data, calls)

    def _stored(self, item: RowJob, entry: Entry) -> Result:
        results = {}
        for name, each in _steps(entry).items():
            earlier = self._recall_all(item, _earlier(entry, name))
            result = self._recall(item, each)
            results[name] = msgspec.structs.replace(result, line=item.line, problem=each.problem, earlier=earlier)
        outcomes = self._known(item, _steps(entry)).outcomes(results)
        result = merged(outcomes, attempt_key(self._batch.id, item.name), item.failure)
        return msgspec.structs.replace(result, line=item.line, grid=item.grid)

    def _recall_all(self, item: RowJob, entries: Iterable[Entry]) -> tuple[Result, ...]:
        return tuple(self._recall(item, entry) for entry in entries if entry.prediction)

    async def _result(
        self,
        item: RowJob,
        entry: Entry | None,
        earlier: tuple[Entry, ...],  # noqa: ARG002 - chains take no policies
        made: list[Result],  # noqa: ARG002 - as above
    ) -> Result:
        known = _steps(entry)
        retried = {name: each for name, each in known.items() if self._is_retried(each)}

        async def run_call(call: Call, job: Job, current: Entry | None, ended: Callable[[Prediction], None]) -> Result:
            model = self._plan.models[call.step.name]
            row = RowJob(item.line, f"{item.name}/{call.name}", job, secrets=model.secrets)
            if self.stopped and call.name not in known:
                raise asyncio.CancelledError  # rows that wait for a rate-limit slot end with this error too
            own = RowStep(call.name, self._contexts[call.step.name], model, ended)
            result = await self._last_attempt(row, retried.get(call.name) or current or known.get(call.name), own)
            last = known.get(call.name)
            before = (*_earlier(entry, call.name), *([last] if last and last.key != result.key else []))
            return msgspec.structs.replace(result, line=item.line, earlier=self._recall_all(item, before))

        entries = {name: each for name, each in known.items() if name not in retried}
        outcomes = await ChainRun(self._context, self._plan, item.job.input_data, entries, run_call).run()
        for error in outcomes.values():
            if isinstance(error, KeyInUseError):
                error.args = (another_input(item.name),)
            if isinstance(error, ReplicateJobError) and not is_of_row(error):
                raise error
        return merged(outcomes, attempt_key(self._batch.id, item.name), item.failure)


def _steps(entry: Entry | None) -> dict[str, Entry]:
    return entry.steps if isinstance(entry, _Row) else {}


def _earlier(entry: Entry | None, call: str) -> tuple[Entry, ...]:
    return entry.earlier.get(call, ()) if isinstance(entry, _Row) else ()


def _succeeded(entry: Entry) -> bool:
    return entry.step == "done" and entry.status == "succeeded" and not has_failed(entry)
