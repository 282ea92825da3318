"""The claim on a job: one process at a time may act for it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from replicate_job.errors import JobHeldError, JournalError
from replicate_job.flow.context import Context, moment
from replicate_job.job import Job
from replicate_job.journal.entry import Claim, CreateRequest
from replicate_job.wire.prediction import Prediction


async def take(  # noqa: PLR0913 - what the journal's claim takes
    context: Context,
    key: str,
    job: Job,
    save: str | None,
    *,
    within: float | None,
    prediction: Prediction | None = None,
    request: CreateRequest | None = None,
    chain_step: str | None = None,
) -> Claim:
    """Claim the job; while another process has it, wait for that one.

    Raises JobHeldError where that takes longer than ``within`` seconds; None for no limit.
    """
    has_warned, until = False, math.inf if within is None else context.clock.now() + within
    while True:
        try:
            return await context.journal.claim(
                key,
                context.api,
                job,
                save,
                prediction=prediction,
                request=request,
                sent=moment(context) if request else None,
                batch=context.strategy.batch,
                chain_step=chain_step,
            )
        except JobHeldError as held:
            if context.clock.now() >= until:
                raise
            if not has_warned:
                context.reporter.warn(f"{held}: waiting for it")
            has_warned = True
            await context.clock.sleep(min(0.5, max(0.05, held.until - context.clock.time())))


async def release(context: Context, claim: Claim) -> None:
    """Release the claim, also while this task is being cancelled."""
    with suppress(JournalError):
        await asyncio.shield(context.journal.release(claim))


@asynccontextmanager
async def held(context: Context, claim: Claim) -> AsyncIterator[None]:
    """Release the claim after the block."""
    try:
        yield
    finally:
        await release(context, claim)
