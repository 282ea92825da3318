"""The jobs of a chain's calls, and what the journal has of them. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

import msgspec

from replicate_job.batches.chains.outputs import Outputs
from replicate_job.batches.chains.plan import ChainPlan, step_job
from replicate_job.chain import Call, Step, base_of, in_order
from replicate_job.errors import JobError
from replicate_job.flow.context import Context
from replicate_job.inputs.content import Content
from replicate_job.job import Job, Outcome, Result
from replicate_job.journal.entry import Entry


class ChainJobs:
    """The jobs for one input of a chain, by its ``outputs`` so far."""

    def __init__(self, context: Context, plan: ChainPlan, values: Mapping[str, Any]) -> None:
        self.outputs = Outputs(context, plan)
        self._journal, self._plan, self._values = context.journal, plan, values

    def make(self, call: Call, outputs: Mapping[str, Any]) -> Job:
        """The call's job with these outputs, by step. Raises JobError."""
        return step_job(call.step, self._plan.chain.input_of(call, self._values, outputs))

    def of(self, call: Call, entry: Entry) -> Job | None:
        """The call's job in the form that the entry has; None for an entry of another job."""
        for outputs in self._every_form(call.step):
            with suppress(JobError):
                job = self.make(call, outputs)
                job = msgspec.structs.replace(job, input_data=_with_held(job.input_data, entry.job.input_data))
                if self._journal.is_same(entry, job):
                    return job
        return None

    def _every_form(self, step: Step) -> Iterator[dict[str, Any]]:
        needs = sorted(self._plan.chain.needs(step.name))
        for forms in product(*(self._forms(need) for need in needs)):
            if None not in forms:
                yield dict(zip(needs, forms, strict=True))

    def _forms(self, step: str) -> list[Any]:
        """As URLs and as files. What is in an object store is not read here: something stands for its content."""
        stored = {address: Content(address, "", 0, address) for address in self.outputs.stored(step)}
        return [self.outputs.as_url(step), self.outputs.as_file(step, stored)]


def _with_held(value: Any, made: Any) -> Any:
    """The value with the contents that an earlier job had in these places."""
    match value, made:
        case Content(), Content():
            return made
        case Content(), {"name": str(name), "media_type": str(kind), "size": int(size), "sha256": str(sha256)}:
            return Content(name, kind, size, sha256)  # as the journal has it once its job has ended
        case dict(), dict():
            return {name: _with_held(item, made.get(name)) for name, item in value.items()}
        case list(), list() if len(value) == len(made):
            return [_with_held(item, other) for item, other in zip(value, made, strict=True)]
    return value


class KnownChain:
    """A chain as the journal has it, by the entries of its calls.

    ``is_same``: they are those of this chain with this input. ``is_whole``: no other call can come, if they are over.
    """

    def __init__(
        self, context: Context, plan: ChainPlan, values: Mapping[str, Any], entries: Mapping[str, Entry]
    ) -> None:
        self._chain, self._jobs = plan.chain, ChainJobs(context, plan, values)
        self._callless: dict[str, Outcome] = {}
        self.is_same = self.is_whole = True
        for step in plan.chain.steps:
            self._read(step, entries)

    def _read(self, step: Step, entries: Mapping[str, Entry]) -> None:
        outputs = self._jobs.outputs
        if not all(map(outputs.has, self._chain.needs(step.name))):
            # The step before it failed, or its output is not in the journal any more.
            self.is_whole = self.is_whole and any(base_of(name) == step.name for name in entries)
            return
        calls = None
        with suppress(JobError):  # it has no calls, and ends the chain
            calls = outputs.calls(step.name)
        if calls == []:
            self._callless[step.name] = nothing(step)
        for call in calls or []:
            if (entry := entries.get(call.name)) is None:
                self.is_whole = False
            elif self._jobs.of(call, entry):
                outputs.recall(call.name, entry)
            else:
                self.is_same = False

    def outcomes(self, results: Mapping[str, Result]) -> dict[str, Outcome]:
        """Those that a run would give, by the results of the entries."""
        outcomes = {**results, **self._callless}
        return {name: outcomes[name] for name in in_order(outcomes, [step.name for step in self._chain.steps])}


def nothing(step: Step) -> Result:
    """The result of a step that has run for no element."""
    return Result("", "succeeded", step.model, {}, output=[])
