"""Leaving a batch while predictions run: they run on, and the journal is to know which they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from replicate_job.errors import ReplicateJobError
from replicate_job.flow.cancel import cancel_job
from replicate_job.flow.claim import held, take
from replicate_job.flow.context import Context
from replicate_job.flow.reconcile import reconcile
from replicate_job.journal.entry import Entry

LONGEST = 15.0
"""Seconds that leaving may take."""


async def leave(context: Context, keys: Sequence[str], *, cancel: bool) -> Counter[str]:
    """Find out what the creates made whose answers are not awaited any more; with ``cancel``, cancel what runs.

    Comes back with how many are ``running``, ``canceled``, ``unknown``: not found out within ``LONGEST`` seconds.
    """
    entries = [
        entry
        for entry in (await context.journal.look_up(keys)).values()
        if entry.state in {"intended", "uncertain", "created"}
    ]
    if context.ephemeral:
        return Counter()
    left = Counter({"unknown": len(entries)})

    async def settle(entry: Entry) -> None:
        with suppress(ReplicateJobError):
            if cancel:
                outcome = "canceled" if await cancel_job(context, entry) else "unsent"
            else:
                outcome = "running" if entry.prediction_id or await _find(context, entry) else "unsent"
            left.update({outcome: 1, "unknown": -1})

    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST):
            await asyncio.gather(*map(settle, entries))
    return +left


async def _find(context: Context, entry: Entry) -> str | None:
    claim = await take(context, entry.key, entry.job, entry.save)
    async with held(context, claim):
        found = claim.entry.prediction_id or await reconcile(context, claim)
        if found is None:
            await context.journal.unsent(claim)
        return found
