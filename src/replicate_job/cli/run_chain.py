"""``replicate-job run`` for a chain: run its steps to the end of the last step."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from replicate_job.batches.chains.plan import ChainPlan, chain_job, check_chain, plan_chain
from replicate_job.batches.chains.single import cancel_chain, run_chain
from replicate_job.chain import Chain, Step, base_of
from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.given import Given, Options, check_pairs, shown_input, with_inputs
from replicate_job.cli.options import Common
from replicate_job.cli.output import Shown, conclude, print_carried, print_json
from replicate_job.cli.streams import tell
from replicate_job.errors import InputError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.deadline import ExpiredError, deadline, timed_out
from replicate_job.flow.job_run import Ask
from replicate_job.job import Job, Result
from replicate_job.outputs.place import check_place


async def start(shared: Common, chain: Chain, given_input: Given, options: Options) -> int:
    """Run the chain to its end, and return the exit code. Wrong inputs raise an error before anything is created."""
    check_chain(chain)
    check_pairs(given_input.pairs, model=chain.name)
    shown, ask = Shown(alone=options.output_only), options.ask(shared, chain_job(chain), kind="chain")
    with print_carried(shown):
        async with shared.session(model="" if options.dry_run else chain.steps[0].model) as context:
            plan = await _plan_within(context, chain, ask)
            ask = msgspec.structs.replace(ask, job=with_inputs(context, ask.job, given_input, plan.resolved))
            if options.dry_run:
                return await _dry_run(context, plan, ask)
            result = await _run(shared, context, plan, ask, options)
    last = next(step for step, own in result.steps.items() if own.prediction_id == result.prediction_id)
    msgspec.structs.replace(shown, schema=plan.models[base_of(last)].schema).report(result)
    code = conclude(result, ask.job, line=shared.line, ephemeral=context.ephemeral)
    if result.status != "succeeded" and not shared.quiet:
        tell(f"step {last}; {_kept(result)}the same command with --key {ask.key} --retry-failed goes on with it")
    return code


async def _plan_within(context: Context, chain: Chain, ask: Ask) -> ChainPlan:
    try:
        async with deadline(context.clock, ask.deadline):
            return await plan_chain(context, chain)
    except ExpiredError:
        raise timed_out(context, ask) from None


async def _run(shared: Common, context: Context, plan: ChainPlan, ask: Ask, options: Options) -> Result:
    goes_on = f"the same command with --key {ask.key} goes on where it stopped"
    try:
        return await run_chain(context, plan, ask, retry_failed=options.retry_failed)
    except asyncio.CancelledError:
        if shared.terminated.came:
            context.reporter.warn(f"stopped; the chain is left as it is: {goes_on}")
        else:
            await cancel_chain(context, ask.key)
        raise
    except InputError:
        raise
    except ReplicateJobError:
        with suppress(ReplicateJobError):
            if await context.journal.steps_of(ask.key):
                context.reporter.warn(goes_on)
        raise


def _kept(result: Result) -> str:
    good = [name for name, step in result.steps.items() if step.status == "succeeded"]
    return f"{', '.join(good)} {'is' if len(good) == 1 else 'are'} kept: " if good else ""


async def _dry_run(context: Context, plan: ChainPlan, ask: Ask) -> int:
    if ask.save:
        await check_place(ask.save, context.stores)
    values = ask.job.input_data
    if problems := plan.check(values):
        raise InputError(plan.chain.name, problems)
    print_json({"steps": {step.name: _planned(plan, step, values) for step in plan.chain.steps}})
    return SUCCEEDED


def _planned(plan: ChainPlan, step: Step, values: Mapping[str, Any]) -> dict[str, Any]:
    resolved = plan.models[step.name]
    known, later = plan.chain.known_input(step.name, values)
    return {
        **({"for_each": f"{{{plan.chain.lists[step.name].name}}}"} if step.for_each else {}),
        "model": str(resolved.target),
        "request": f"POST /v1{resolved.path}",
        "version": resolved.version or None,
        "input": shown_input(Job("", known)),
        "later": sorted(later),
        "checked": resolved.schema is not None,
    }
