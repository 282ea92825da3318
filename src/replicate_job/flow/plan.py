"""A job with further attempts: after a failure, the same model or a fallback makes another prediction.

Each attempt is a job of its own in the journal: ``<key>``, ``<key>~2``, ... So a later call with the same key continues
with the attempt where an earlier call stopped. No attempt is paid for twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from replicate_job.errors import ClosedError, JobError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.deadline import ExpiredError, deadline, timed_out
from replicate_job.flow.failure import RETRIED, Failure, why
from replicate_job.flow.job_run import Ask
from replicate_job.flow.policy import Policy
from replicate_job.flow.prepare import check_job, resolve_and_check
from replicate_job.flow.resolve import find_schema
from replicate_job.inputs.upload import check_files
from replicate_job.job import Fallback, Job, Result
from replicate_job.wire.target import parse_target

Run = Callable[[Ask], Awaitable[Result]]
"""Runs one attempt to its end."""


class Plan(msgspec.Struct, frozen=True):
    """What may follow or replace a job's first attempt.

    ``policy`` decides about further attempts. ``reuse`` is the greatest age, in seconds, of an earlier success that
    replaces a new prediction; None if no earlier success is used.
    """

    policy: Policy
    reuse: float | None = None


def make_plan(job: Job, *, retries: int = 0, retry_on: object = None, reuse: float | None = None) -> Plan:
    """Make the plan of a job. The fallbacks are in the job itself. Raises JobError."""
    if job.destination:
        raise JobError("a training has no retries, fallback or reuse: it is started once")
    if not job.wait_for_completion:
        raise JobError("retries, fallback and reuse need the end of the prediction: wait for it")
    for fallback in job.fallback:
        parse_target(fallback.model)
    chosen = frozenset(RETRIED) if retry_on is None else read_reasons(retry_on)
    return Plan(Policy(retries, chosen, 1 + len(job.fallback)), reuse)


def read_reasons(words: Any) -> frozenset[Failure]:
    """Read the failures that lead to another attempt, from a list or a comma-separated text. Raises JobError."""
    given = [word.strip() for word in words.split(",")] if isinstance(words, str) else list(words)
    reasons = frozenset(failure for failure in RETRIED if failure in given)
    if wrong := [word for word in given if word not in reasons]:
        raise JobError(f"retry_on: {wrong[0]!r} is none of {', '.join(RETRIED)}")
    if not reasons:
        raise JobError(f"retry_on: name one or more of {', '.join(RETRIED)}")
    return reasons


def jobs_of(job: Job) -> list[Job]:
    """The job for each model: first the job's own model, then each fallback."""
    own = msgspec.structs.replace(job, fallback=()) if job.fallback else job
    return [own, *(fallback_job(own, fallback) for fallback in job.fallback)]


def fallback_job(job: Job, fallback: Fallback) -> Job:
    """The job for a fallback model.

    ``fallback.inputs`` maps the name of an input to its new name, or to False to leave the input out. Raises JobError
    if two inputs get the same name.
    """
    values: dict[str, Any] = {}
    for name, value in job.input_data.items():
        new = fallback.inputs.get(name, name)
        if new is False:
            continue
        if new in values:
            raise JobError(f"fallback {fallback.model}: two inputs would be its {new!r}; leave one out with false")
        values[new] = value
    return msgspec.structs.replace(job, model=fallback.model, input_data=values | fallback.input_data)


def attempt_key(key: str, number: int) -> str:
    return key if number == 1 else f"{key}~{number}"


async def run_plan(context: Context, ask: Ask, plan: Plan, run: Run) -> Result:
    """The result of the last attempt. Its ``earlier`` has the results of earlier attempts.

    Raises the errors of ``run``. No attempt follows such an error, since the outcome may be unknown. Raises InputError,
    before the first attempt, for a fallback that does not accept the input.
    """
    if ask.called is None:
        ask = msgspec.structs.replace(ask, called=context.clock.now())
    jobs = jobs_of(ask.job)
    known = None if ask.is_new else await context.journal.get(ask.key)
    if known is None or known.state == "refused":
        await _check(context, ask)
        if plan.reuse is not None and (reused := await _reused(context, ask, jobs[0], plan.reuse)):
            return reused
    return await _Attempts(context, ask, plan.policy, jobs, run).to_end()


async def _check(context: Context, ask: Ask) -> None:
    try:
        async with deadline(context.clock, ask.deadline):
            await check_fallbacks(context, ask.job)
    except ExpiredError:
        raise timed_out(context, ask) from None


async def _reused(context: Context, ask: Ask, job: Job, age: float) -> Result | None:
    """An earlier result that replaces a new prediction, with the earlier job's ``key``.

    None if there is no such result.
    """
    from replicate_job.flow.reuse import Reuse  # noqa: PLC0415 - imported only if reuse is asked for

    try:
        async with deadline(context.clock, ask.deadline):
            check_job(job)
            [found] = await Reuse(context, age).find([job], await resolve_and_check(context, job))
    except ExpiredError:
        raise timed_out(context, ask) from None
    if found:
        context.reporter.tell(f"reused {found.prediction_id} of {found.created_at}: nothing was created")
    return found


async def check_fallbacks(context: Context, job: Job) -> None:
    """Raise InputError, or ModelNotFoundError, for the first fallback that cannot take the job's input."""
    for each in jobs_of(job)[1:]:
        check_files(each.input_data, model=each.model)
        await resolve_and_check(context, each)


class _Attempts:
    def __init__(self, context: Context, ask: Ask, policy: Policy, jobs: list[Job], run: Run) -> None:
        self._context, self._ask, self._policy, self._jobs, self._run = context, ask, policy, jobs, run
        self._tries: list[tuple[int, Failure]] = []
        self._earlier: list[Result] = []

    async def to_end(self) -> Result:
        model: int | None = 0
        while model is not None:
            result = await self._attempt(model)
            self._tries.append((model, await self._why(result, self._jobs[model])))
            model = await self._next(result)
            if model is not None:
                self._earlier.append(result)
        return self._whole(result)

    async def _attempt(self, model: int) -> Result:
        key = attempt_key(self._ask.key, len(self._tries) + 1)
        is_checked = self._ask.is_checked and model == 0
        attempt = msgspec.structs.replace(self._ask, job=self._jobs[model], key=key, is_checked=is_checked)
        try:
            return await self._run(attempt)
        except ClosedError:
            raise
        except ReplicateJobError as error:
            if error.result:
                error.result = self._whole(error.result)
            raise

    def _whole(self, result: Result) -> Result:
        return msgspec.structs.replace(result, earlier=tuple(self._earlier)) if self._earlier else result

    async def _begun(self, model: int) -> int | None:
        """The number of the next attempt's model, if the journal has that attempt already. Otherwise None.

        An earlier call began that attempt. Its options may have led to another model than ``model``.
        """
        if self._ask.is_new:
            return None
        journal = self._context.journal
        entry = await journal.get(attempt_key(self._ask.key, len(self._tries) + 1))
        if entry is None or entry.state == "refused":
            return None
        same = (number for number, job in enumerate(self._jobs) if journal.is_same(entry, job))
        return next(same, model)

    async def _why(self, result: Result, job: Job) -> Failure:
        if result.status != "succeeded" or result.output is None:
            return why(result.status, result.error, result.output, None)
        known = self._context.strategy.recall(self._context, parse_target(job.model))
        schema = known.schema if known else await find_schema(self._context, job.model)
        return why(result.status, result.error, result.output, schema)

    async def _next(self, result: Result) -> int | None:
        """Wait until the next attempt may start, and return its model's number. None if there is no next attempt."""
        model = self._policy.next_model(self._tries)
        if model is None:
            return None
        if (begun := await self._begun(model)) is not None:
            return begun
        context = self._context
        pause = self._policy.pause(self._tries, model)
        if context.clock.now() + pause >= self._ask.deadline:
            return None
        what = f"prediction {result.prediction_id}: {describe(self._tries[-1][1], result)}"
        then = f"trying again in {pause:.0f} s" if pause else f"trying {self._jobs[model].model}"
        context.reporter.warn(f"{what}; {then}")
        if pause:
            await context.clock.sleep(pause)
        return model


def describe(failure: Failure, result: Result) -> str:
    """Describe the failure for a message."""
    if failure == "empty":
        return "succeeded without an output" if result.output is None else "succeeded without its files"
    text = result.error if isinstance(result.error, str) else ""
    return f"{result.status} ({text})" if text else result.status
