"""Runs one chain for one input: begins each step once the outputs that it needs exist."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from replicate_job.batches.chains.jobs import ChainJobs, nothing
from replicate_job.batches.chains.outputs import End
from replicate_job.batches.chains.plan import ChainPlan
from replicate_job.chain import Call, Step
from replicate_job.errors import InputError, JobError, OutputError, ReplicateJobError
from replicate_job.flow.claim import held, take
from replicate_job.flow.context import Context
from replicate_job.job import Job, Outcome, Result
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction

RunCall = Callable[[Call, Job, Entry | None, Callable[[Prediction], None]], Awaitable[Result]]
"""Runs a call's job. The callback is called as soon as the job's prediction has ended. The entry is the job's in the
journal; None for a new job."""


class ChainRun:
    """One run of a chain.

    ``entries`` has the calls' entries in the journal by the call's name, except for calls that are retried.
    """

    def __init__(
        self,
        context: Context,
        plan: ChainPlan,
        values: Mapping[str, Any],
        entries: Mapping[str, Entry],
        run_call: RunCall,
    ) -> None:
        self._context, self._plan, self._entries, self._run_call = context, plan, entries, run_call
        self._jobs = ChainJobs(context, plan, values)
        self._outputs = self._jobs.outputs
        self._tasks: dict[str, dict[str, asyncio.Task[Result]]] = {}  # by step, and by the call's name
        self._callless: dict[str, Outcome] = {}
        self._news = asyncio.Event()

    async def run(self) -> dict[str, Outcome]:
        """The outcome of each call that could begin, in the chain's order. If a call fails, the others still run.

        A step without calls has its outcome under the step's name.
        """
        try:
            while True:
                self._news.clear()
                while ready := self._ready():
                    for step in ready:
                        self._begin(step)
                if not self._running():
                    break
                await self._news.wait()
        finally:
            running = self._running()
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        outcomes: dict[str, Outcome] = {}
        for step in self._plan.chain.steps:
            if step.name in self._callless:
                outcomes[step.name] = self._callless[step.name]
            outcomes |= {name: _outcome(task) for name, task in self._tasks.get(step.name, {}).items()}
        return outcomes

    def _ready(self) -> list[Step]:
        ended = [step for step in self._tasks if self._outputs.has(step)]
        return self._plan.chain.ready(ended, self._tasks)

    def _running(self) -> list[asyncio.Task[Result]]:
        return [task for tasks in self._tasks.values() for task in tasks.values() if not task.done()]

    def _begin(self, step: Step) -> None:
        tasks = self._tasks[step.name] = {}
        try:
            calls = self._outputs.calls(step.name) or []
        except JobError as error:
            self._callless[step.name] = error
            return
        if not calls:
            self._callless[step.name] = nothing(step)
        for call in calls:
            task = tasks[call.name] = asyncio.create_task(self._call(call))
            task.add_done_callback(lambda _: self._news.set())

    async def _call(self, call: Call) -> Result:
        entry = self._entries.get(call.name)

        def end(prediction: Prediction) -> None:
            if prediction.status == "succeeded" and prediction.output is not None:
                self._outputs.ends[call.name] = End(prediction.id, prediction.output, prediction.completed_at)
                self._news.set()

        def over(result: Result) -> None:
            if result.status == "succeeded":
                made = End(result.prediction_id, result.output, result.completed_at, result.files)
                self._outputs.ends[call.name] = made

        job, entry = await self._job(call, entry)
        try:
            result = await self._run_call(call, job, entry, end)
        except OutputError as error:  # the prediction may have an output even if saving it failed
            if error.result:
                over(error.result)
            raise
        over(result)
        return result

    async def _job(self, call: Call, entry: Entry | None) -> tuple[Job, Entry | None]:
        """The call's job, and its entry; the entry is None if the job does not resume from it. Raises JobError.

        An output of another step keeps the form (URL or file) that it has in the entry, since another form would be
        another job.
        """
        step = call.step
        made = self._jobs.of(call, entry) if entry else None
        if entry and made and not self._is_unsent(entry):
            return made, entry
        job = self._jobs.make(call, await self._forms(step))
        is_same = made is not None and made.input_data == job.input_data
        if entry and not is_same:
            is_left = made is not None or any(map(self._is_remade, self._plan.chain.needs(step.name)))
            if is_left and await self._free(entry):
                entry = None
        checker = self._plan.models[step.name].checker
        if entry is None and (problems := checker.check(job.input_data, allow_unknown=step.allow_unknown)):
            raise InputError(step.model, problems)
        return job, entry

    async def _forms(self, step: Step) -> dict[str, Any]:
        return {need: await self._form(need) for need in sorted(self._plan.chain.needs(step.name))}

    async def _form(self, step: str) -> Any:
        """The step's output: with URLs while these can be read, else with the kept files.

        Raises JobError if a file was not kept.
        """
        calls = self._outputs.known_calls(step)
        if all(self._outputs.lives(call, is_new=self._is_new(call.name)) for call in calls):
            return self._outputs.as_url(step)
        await asyncio.wait(self._tasks[step].values())  # its files may still be downloading
        if (form := self._outputs.as_file(step, await self._outputs.hold(step))) is None:
            raise JobError(
                f"the output of the step {step} is deleted from the API, which keeps it for an hour, and there is no"
                f" file of it on this machine or in a bucket: run the chain anew, with another key, and keep its"
                f" outputs"
            )
        return form

    def _is_unsent(self, entry: Entry) -> bool:
        """Whether a job with expired URLs can be replaced: it sent no request, or its local server has ended."""
        return entry.step == "prepare" or (self._context.ephemeral and entry.step != "done")

    def _is_new(self, call: str) -> bool:
        """Whether the call's prediction has ended in this run."""
        before = self._entries.get(call)
        return before is None or before.step not in {"collect", "done"} or self._is_another(call, before)

    def _is_another(self, call: str, before: Entry) -> bool:
        return before.prediction_id != self._outputs.ends[call].prediction_id

    def _is_remade(self, step: str) -> bool:
        """Whether this run repeated the step, because the step's files were lost with its local server."""
        before = {call.name: self._entries.get(call.name) for call in self._outputs.known_calls(step)}
        is_another = any(entry and self._is_another(name, entry) for name, entry in before.items())
        return self._context.ephemeral and is_another

    async def _free(self, entry: Entry) -> bool:
        """Free the key of a job that has no prediction, or whose prediction was lost with its local server.

        Returns False if another process has advanced the job.
        """
        context = self._context
        claim = await take(context, entry.key, entry.job, entry.save, within=None)
        async with held(context, claim):
            if claim.entry.step != entry.step:
                return False
            await context.journal.restart(claim, "the output that it was to take is not at its URL any more")
            return True


def _outcome(task: asyncio.Task[Result]) -> Outcome:
    """The task's result or error. Raises an error that is not of this package."""
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, ReplicateJobError):
        raise error
    return error


def merged(outcomes: Mapping[str, Outcome], key: str, failure: Callable[[str], Result]) -> Result:
    """The chain's result: the result of the first call that did not succeed, or else of the last step.

    The ``steps`` of the chain's result are the results of all calls. ``failure`` makes the result of a call from the
    text of its error, if the error has no result.
    """
    steps: dict[str, Result] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, Result):
            steps[name] = outcome
            continue
        steps[name] = msgspec.structs.replace(outcome.result or failure(str(outcome)), problem=str(outcome))
    bad = [name for name, result in steps.items() if result.status != "succeeded" or result.problem]
    name = bad[0] if bad else list(steps)[-1]
    result = steps[name]
    problem = f"step {name}: {result.problem}" if result.problem else ""
    stand_in = next((each.stand_in for each in steps.values() if each.stand_in), "")
    whole = msgspec.structs.replace(result, key=key, problem=problem, stand_in=stand_in, steps=steps, earlier=())
    parts = whole.gathered
    if parts[0] is whole:
        return whole
    files = tuple(path for part in parts for path in part.files)
    last = max((part.completed_at or "" for part in parts), default="") or None
    return msgspec.structs.replace(whole, output=[part.output for part in parts], files=files, completed_at=last)
