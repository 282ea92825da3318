"""Runs a chain for one input."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from replicate_job.batches.attempts import attempt_key, attempt_of, attempts_before, has_failed, recall
from replicate_job.batches.chains.by_name import last_jobs
from replicate_job.batches.chains.outputs import look_up_calls
from replicate_job.batches.chains.plan import ChainPlan
from replicate_job.batches.chains.run import ChainRun, merged
from replicate_job.chain import Call
from replicate_job.errors import InputError, ReplicateJobError
from replicate_job.flow.cancel import cancel_interrupted
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask, check_key
from replicate_job.flow.run import run_job
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction


async def run_chain(context: Context, plan: ChainPlan, ask: Ask, *, retry_failed: bool = False) -> Result:
    """Run a chain to its end.

    ``ask.job`` is from ``chain_job``, with the input. The steps' keys begin with ``ask.key``.

    A chain whose key is in the journal resumes where it stopped. With ``retry_failed``, a step whose prediction failed
    gets a new prediction. Raises InputError for a wrong input, before anything is created. If steps fail with errors,
    raises the first of these errors, after all steps that could run have ended.
    """
    values, key = ask.job.input_data, ask.key
    check_key(key)
    if problems := plan.check(values):
        raise InputError(plan.chain.name, problems)
    known = (await look_up_calls(context, plan, key, [""]))[""]
    before = await attempts_before(context, key, known)
    retried = {name: entry for name, entry in known.items() if retry_failed and has_failed(entry)}

    async def run_call(call: Call, job: Job, _: Entry | None, ended: Callable[[Prediction], None]) -> Result:
        last = known.get(call.name)
        number = attempt_of(key, last) + (call.name in retried) if last else 1
        own = attempt_key(key, call.name, number)
        own_ask = msgspec.structs.replace(ask, job=job, key=own, chain_step=call.name, ended=ended)
        earlier = (*before.get(call.name, ()), *([last] if last and last.key != own else []))
        return msgspec.structs.replace(await run_job(context, own_ask), earlier=recall(earlier))

    entries = {name: entry for name, entry in known.items() if name not in retried}
    outcomes = await ChainRun(context, plan, values, entries, run_call).run()
    for name, outcome in outcomes.items():
        if isinstance(outcome, ReplicateJobError):
            raise _of_step(name, outcome)
    return merged(outcomes, key, lambda problem: Result("", "error", plan.chain.name, values, problem=problem))


async def cancel_chain(context: Context, key: str) -> None:
    """Cancel the running predictions of a chain after Ctrl-C, and report the outcomes."""
    for entry in (await last_jobs(context, key)).values():
        await cancel_interrupted(context, entry.key)


def _of_step(step: str, error: ReplicateJobError) -> ReplicateJobError:
    error.args = (f"step {step}: {error}", *error.args[1:])
    return error
