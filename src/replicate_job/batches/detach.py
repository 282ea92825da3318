"""Detaches from a batch: its predictions go on (or are canceled), and their ids are recorded in the journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from replicate_job.errors import ReplicateJobError
from replicate_job.flow.cancel import cancel_job
from replicate_job.flow.claim import held, take
from replicate_job.flow.context import Context
from replicate_job.flow.lifecycle import UNFINISHED
from replicate_job.flow.reconcile import reconcile
from replicate_job.journal.entry import Entry

LONGEST = 15.0
"""The most seconds that ``detach`` takes."""


async def detach(context: Context, keys: Sequence[str], *, cancel: bool) -> Counter[str]:
    """Look up the predictions of unanswered create requests; with ``cancel``, cancel the running predictions.

    ``keys`` are the keys of the running jobs. Returns the number of jobs by outcome: ``running``, ``canceled``,
    ``unsent`` (there is no prediction) and ``unknown`` (no answer within ``LONGEST`` seconds). Predictions of a local
    server end with the server, and count as ``ended``.
    """
    known = (await context.journal.look_up(keys)).values()
    if context.ephemeral:
        return +Counter(ended=sum(entry.state in UNFINISHED for entry in known))
    entries = [entry for entry in known if entry.state in {"intended", "uncertain", "created"}]
    outcomes = Counter({"unknown": len(entries)})

    async def settle(entry: Entry) -> None:
        with suppress(ReplicateJobError):
            if cancel:
                outcome = "canceled" if await cancel_job(context, entry) else "unsent"
            else:
                outcome = "running" if entry.prediction_id or await _find(context, entry) else "unsent"
            outcomes.update({outcome: 1, "unknown": -1})

    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST):
            await asyncio.gather(*map(settle, entries))
    return +outcomes


async def _find(context: Context, entry: Entry) -> str | None:
    claim = await take(context, entry.key, entry.job, entry.save, within=LONGEST)
    async with held(context, claim):
        found = claim.entry.prediction_id or await reconcile(context, claim)
        if found is None:
            await context.journal.unsent(claim)
        return found
