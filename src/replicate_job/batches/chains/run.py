"""One chain for one input: which steps can begin, and each step's job with what the steps before it made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.batches.chains.plan import ChainPlan, step_job
from replicate_job.chain import Step
from replicate_job.errors import InputError, JobError, OutputError, ReplicateJobError
from replicate_job.flow.claim import held, take
from replicate_job.flow.context import Context
from replicate_job.job import Job, Kept, Outcome, Result
from replicate_job.journal.entry import Entry
from replicate_job.outputs.discover import OutputFile, find_files, is_text
from replicate_job.wire.data_url import read_head
from replicate_job.wire.prediction import Prediction, parse_time

LIVES = 45 * 60.0
"""Seconds for which a step may begin with the URL of an output: the API deletes it after an hour, and the step's model
reads it only once it has started."""

RunStep = Callable[[Step, Job, Entry | None, Callable[[Prediction], None]], Awaitable[Result]]
"""Runs a step's job, which the journal has as the entry, and calls back as soon as its prediction has ended."""


class _End(msgspec.Struct, frozen=True):
    """What a step made. ``files`` are those that were kept."""

    prediction_id: str
    output: Any
    completed_at: str | None
    files: tuple[Kept, ...] = ()


class ChainRun:
    """One run of a chain. ``entries`` are the journal's of its steps, without those that are to be made anew."""

    def __init__(
        self,
        context: Context,
        plan: ChainPlan,
        values: Mapping[str, Any],
        entries: Mapping[str, Entry],
        run_step: RunStep,
    ) -> None:
        self._context, self._plan, self._values, self._run_step = context, plan, values, run_step
        self._entries = {step: entry for step, entry in entries.items() if entry.state != "refused"}
        self._ends: dict[str, _End] = {}
        self._tasks: dict[str, asyncio.Task[Result]] = {}
        self._news = asyncio.Event()

    async def run(self) -> dict[str, Outcome]:
        """The outcome of each step that could begin, in the chain's order. One that fails lets the others end."""
        chain, tasks = self._plan.chain, self._tasks
        try:
            while True:
                self._news.clear()
                for step in chain.ready(self._ends, tasks):
                    task = tasks[step.name] = asyncio.create_task(self._step(step))
                    task.add_done_callback(lambda _: self._news.set())
                if all(task.done() for task in tasks.values()) and not chain.ready(self._ends, tasks):
                    break
                await self._news.wait()
        finally:
            running = [task for task in tasks.values() if not task.done()]
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        return {step.name: _outcome(tasks[step.name]) for step in chain.steps if step.name in tasks}

    def has_all(self) -> bool:
        """Whether the entries, which are over, are those of this chain and its input."""
        for step in self._plan.chain.steps:
            entry = self._entries.get(step.name)
            if entry is None or not self._plan.chain.needs(step.name) <= self._ends.keys():
                continue
            if not any(self._context.journal.is_same(entry, job) for job in self._every_job(step)):
                return False
            if entry.prediction and entry.prediction.output is not None:
                prediction = entry.prediction
                self._ends[step.name] = _End(prediction.id, prediction.output, prediction.completed_at, entry.files)
        return True

    async def _step(self, step: Step) -> Result:
        entry = self._entries.get(step.name)

        def end(prediction: Prediction) -> None:
            if prediction.status == "succeeded" and prediction.output is not None:
                self._ends[step.name] = _End(prediction.id, prediction.output, prediction.completed_at)
                self._news.set()

        def over(result: Result) -> None:
            if result.status == "succeeded":
                self._ends[step.name] = _End(result.prediction_id, result.output, result.completed_at, result.files)

        job, entry = await self._job(step, entry)
        try:
            result = await self._run_step(step, job, entry, end)
        except OutputError as error:  # its output may be there all the same
            if error.result:
                over(error.result)
            raise
        over(result)
        return result

    async def _job(self, step: Step, entry: Entry | None) -> tuple[Job, Entry | None]:
        """The step's job, and its entry if that is to be gone on with. Raises JobError.

        The form that an output had when the job was made stays its form: another one would be another job.
        """
        if entry:
            is_same = self._context.journal.is_same
            made = [job for job in self._every_job(step) if is_same(entry, job)]
            if made and not await self._is_outdated(step, entry, made[0]):
                return made[0], entry
            is_left = bool(made) or any(map(self._is_remade, self._needs(step)))
            if is_left and await self._free(entry):
                entry = None
        job = self._make(step, await self._forms(step))
        checker = self._plan.models[step.name].checker
        if entry is None and (problems := checker.check(job.input_data, allow_unknown=step.allow_unknown)):
            raise InputError(step.model, problems)
        return job, entry

    def _make(self, step: Step, outputs: Mapping[str, Any]) -> Job:
        return step_job(step, self._plan.chain.input_of(step.name, self._values, outputs))

    def _every_job(self, step: Step) -> Iterator[Job]:
        """What the step's job is with each form of the outputs that it takes."""
        for outputs in self._every_form(step):
            with suppress(JobError):
                yield self._make(step, outputs)

    def _needs(self, step: Step) -> list[str]:
        return sorted(self._plan.chain.needs(step.name))

    def _every_form(self, step: Step) -> Iterator[dict[str, Any]]:
        needs = self._needs(step)
        for forms in product(*([self._as_url(need), self._as_file(need)] for need in needs)):
            if None not in forms:
                yield dict(zip(needs, forms, strict=True))

    async def _forms(self, step: Step) -> dict[str, Any]:
        return {need: await self._form(need) for need in self._needs(step)}

    async def _form(self, step: str) -> Any:
        """The output as its URL while that lives, else with the kept file. Raises JobError where there is neither."""
        if self._lives(step):
            return self._as_url(step)
        await asyncio.wait([self._tasks[step]])  # its file may be on its way
        if (form := self._as_file(step)) is None:
            raise JobError(
                f"the output of the step {step} is deleted from the API, which keeps it for an hour, and there is no"
                f" file of it on this machine: run the chain anew, with another key, and keep its outputs"
            )
        return form

    def _lives(self, step: str) -> bool:
        end, client = self._ends[step], self._context.client
        if all(read_head(file.url) for file in self._files(step)):
            return True
        is_new = self._is_new(step)
        if self._context.ephemeral:  # an earlier server has ended, with its files
            return is_new
        ended = parse_time(end.completed_at)
        now = client.api_time or self._context.clock.time()
        return now < ended.timestamp() + LIVES if ended else is_new

    def _files(self, step: str) -> list[OutputFile]:
        schema = self._plan.models[step].schema
        return find_files(self._ends[step].output, schema, origin=self._context.client.base_url)

    def _as_url(self, step: str) -> Any:
        """The output as the API gave it; the pieces of a text as the text."""
        output = self._ends[step].output
        if isinstance(output, list) and is_text(self._plan.models[step].schema):
            return "".join(map(str, output))
        return output

    def _as_file(self, step: str) -> Any:
        """The output with its kept files in place of their URLs; None where these are not on this machine."""
        files, kept, output = self._files(step), self._ends[step].files, self._ends[step].output
        if not files or len(files) != len(kept) or not all(isinstance(path, Path) for path in kept):
            return None
        for file, path in zip(files, kept, strict=True):
            output = _replaced(output, file.position, path)
        return output

    async def _is_outdated(self, step: Step, entry: Entry, job: Job) -> bool:
        """Whether the job names a URL that is dead, and nothing is lost with it: nothing was sent, or its API is gone.

        ``job`` is the one that the entry has.
        """
        is_lost = self._context.ephemeral and entry.step != "done"
        if not (entry.step == "prepare" or is_lost):
            return False
        return self._make(step, await self._forms(step)).input_data != job.input_data

    def _is_new(self, step: str) -> bool:
        """Whether its prediction has ended in this run."""
        before = self._entries.get(step)
        return before is None or before.step not in {"collect", "done"} or self._is_another(step, before)

    def _is_another(self, step: str, before: Entry) -> bool:
        return before.prediction_id != self._ends[step].prediction_id

    def _is_remade(self, step: str) -> bool:
        """Whether it has another prediction than when this run began: one of a local server, whose files are gone."""
        before = self._entries.get(step)
        return self._context.ephemeral and before is not None and self._is_another(step, before)

    async def _free(self, entry: Entry) -> bool:
        """Free the key of a job that has no prediction, or has lost it with its local server."""
        context = self._context
        claim = await take(context, entry.key, entry.job, entry.save, within=None)
        async with held(context, claim):
            if claim.entry.step != entry.step:
                return False
            await context.journal.restart(claim, "the output that it was to take is not at its URL any more")
            return True


def _replaced(value: Any, position: tuple[str | int, ...], new: Any) -> Any:
    if not position:
        return new
    key, rest = position[0], position[1:]
    if isinstance(value, list):
        return [_replaced(item, rest, new) if index == key else item for index, item in enumerate(value)]
    return {name: _replaced(item, rest, new) if name == key else item for name, item in value.items()}


def _outcome(task: asyncio.Task[Result]) -> Outcome:
    """Raises what is no error of this package."""
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, ReplicateJobError):
        raise error
    return error


def merged(outcomes: Mapping[str, Outcome], key: str, failure: Callable[[str], Result]) -> Result:
    """The chain's result: that of the first step that did not succeed, else of the last, with the ``steps`` of all.

    ``failure`` makes the result of a step that has none.
    """
    steps: dict[str, Result] = {}
    for step, outcome in outcomes.items():
        if isinstance(outcome, Result):
            steps[step] = outcome
            continue
        steps[step] = msgspec.structs.replace(outcome.result or failure(str(outcome)), problem=str(outcome))
    bad = [step for step, result in steps.items() if result.status != "succeeded" or result.problem]
    name = bad[0] if bad else list(steps)[-1]
    result = steps[name]
    problem = f"step {name}: {result.problem}" if result.problem else ""
    stand_in = next((each.stand_in for each in steps.values() if each.stand_in), "")
    return msgspec.structs.replace(result, key=key, problem=problem, stand_in=stand_in, steps=steps)
