"""The right to act for a job: taken when no other live process has it, and kept alive while this one acts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from replicate_job.errors import JobHeldError, JournalError
from replicate_job.flow.context import Context
from replicate_job.job import Job
from replicate_job.journal.entry import Claim
from replicate_job.wire.prediction import Prediction


async def take(context: Context, key: str, job: Job, save: str | None, prediction: Prediction | None = None) -> Claim:
    """Claim the job; while another process has it, wait for that one.

    Raises JobHeldError where that takes longer than the job's budget.
    """
    told, until = False, context.clock.now() + job.budget
    while True:
        try:
            return await context.journal.claim(key, context.api, job, save, prediction)
        except JobHeldError as held:
            if context.clock.now() >= until:
                raise
            if not told:
                context.reporter.warn(f"{held}: waiting for it")
            told = True
            await context.clock.sleep(min(0.5, max(0.05, held.until - context.clock.time())))


@asynccontextmanager
async def held(context: Context, claim: Claim) -> AsyncIterator[None]:
    """Keep the claim alive while the job runs, and let it go after."""

    async def renew() -> None:
        while True:
            await context.clock.sleep(context.journal.lease / 3)
            # A journal that fails now is reported by the next fact; a lost claim likewise.
            with suppress(JournalError):
                await context.journal.renew(claim)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        with suppress(JournalError):
            await asyncio.shield(context.journal.release(claim))
