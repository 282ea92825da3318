"""Shows and cancels a chain by its key. The chain of a batch's row has the key of the row."""

from __future__ import annotations

import msgspec

from replicate_job.batches.attempts import attempts_before, latest, recall
from replicate_job.batches.chains.run import merged
from replicate_job.chain import base_of, in_order
from replicate_job.errors import ReplicateJobError
from replicate_job.flow.by_name import cancel, observe
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.job import Outcome, Result
from replicate_job.journal.entry import Entry


async def observe_chain(context: Context, key: str) -> Result | None:
    """The current state of a chain, with the last job of each step. None if the journal has no chain with that key."""
    calls = await _attempts(context, key)
    outcomes = {call: await _observe(context, attempts) for call, attempts in calls.items()}
    if not outcomes:
        return None
    model = next(iter(calls.values()))[-1].job.model
    return merged(outcomes, key, lambda problem: Result("", "error", model, {}, problem=problem))


async def cancel_steps(context: Context, key: str) -> Result | None:
    """Cancel a chain's running predictions, and return the chain's new state. None if no chain has that key."""
    for entry in (await last_jobs(context, key)).values():
        if entry.step != "done":
            await cancel(context, entry.key)
    return await observe_chain(context, key)


async def last_jobs(context: Context, key: str) -> dict[str, Entry]:
    """The last job of each call that has begun, by the call's name."""
    return {call: attempts[-1] for call, attempts in (await _attempts(context, key)).items()}


async def _attempts(context: Context, key: str) -> dict[str, tuple[Entry, ...]]:
    """All jobs of each call that has begun, oldest first, by the call's name. Steps are in the order of their start."""
    first = [entry for entry in await context.journal.steps_of(key) if entry.api == context.api]
    batch = (first[0].batch if first else None) or key
    names = {entry.key.removeprefix(f"{batch}/"): str(entry.chain_step) for entry in first}
    last = await latest(context, batch, names)
    steps = list(dict.fromkeys(base_of(call) for call in names.values()))
    before = await attempts_before(context, batch, last)
    found = {call: (*before.get(name, ()), last[name]) for name, call in names.items() if name in last}
    return {call: found[call] for call in in_order(found, steps)}


async def _observe(context: Context, attempts: tuple[Entry, ...]) -> Outcome:
    *before, entry = attempts
    if entry.step == "done" and entry.prediction:
        return msgspec.structs.replace(result_of(entry.prediction, entry, entry.files), earlier=recall(before))
    try:
        return msgspec.structs.replace(await observe(context, entry.key), earlier=recall(before))
    except ReplicateJobError as error:
        return error
