"""Makes the jobs of a chain's calls, and reads their entries in the journal. Runs nothing."""

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
    """Makes the jobs for one input of a chain from the ``outputs`` that exist so far."""

    def __init__(self, context: Context, plan: ChainPlan, values: Mapping[str, Any]) -> None:
        self.outputs = Outputs(context, plan)
        self._journal, self._plan, self._values = context.journal, plan, values

    def make(self, call: Call, outputs: Mapping[str, Any]) -> Job:
        """The call's job. ``outputs`` has the outputs of the steps that the call needs, by step. Raises JobError."""
        return step_job(call.step, self._plan.chain.input_of(call, self._values, outputs))

    def of(self, call: Call, entry: Entry) -> Job | None:
        """The call's job; None if ``entry`` is of another job.

        The outputs in the job's input have the form (URLs or files) that they have in ``entry``.
        """
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
        """A step's output as URLs, and as files. A placeholder stands for the content of a file in an object store."""
        stored = {address: Content(address, "", 0, address) for address in self.outputs.stored(step)}
        return [self.outputs.as_url(step), self.outputs.as_file(step, stored)]


def _with_held(value: Any, made: Any) -> Any:
    """The value, with each placeholder replaced by the content at the same position in ``made``.

    ``made`` is the input of the earlier job, from the journal.
    """
    match value, made:
        case Content(), Content():
            return made
        case Content(), {"name": str(name), "media_type": str(kind), "size": int(size), "sha256": str(sha256)}:
            return Content(name, kind, size, sha256)  # the form of an ended job's file in the journal
        case dict(), dict():
            return {name: _with_held(item, made.get(name)) for name, item in value.items()}
        case list(), list() if len(value) == len(made):
            return [_with_held(item, other) for item, other in zip(value, made, strict=True)]
    return value


class KnownChain:
    """The calls of a chain that have entries in the journal. ``entries`` has the entries by the call's name.

    ``is_same``: the entries are of this chain with this input. ``is_whole``: no more calls follow after those with
    entries.
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
            # The step needs the output of another step. That step failed, or its output is not in the journal any more.
            self.is_whole = self.is_whole and any(base_of(name) == step.name for name in entries)
            return
        calls = None
        with suppress(JobError):  # a step whose list is invalid has no calls, and ends the chain
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
        """The outcomes that a run would return. ``results`` has the results of the entries, by the call's name."""
        outcomes = {**results, **self._callless}
        return {name: outcomes[name] for name in in_order(outcomes, [step.name for step in self._chain.steps])}


def nothing(step: Step) -> Result:
    """The result of a step whose list is empty."""
    return Result("", "succeeded", step.model, {}, output=[])
