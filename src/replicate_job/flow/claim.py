"""The claim on a job. Only the process that has the claim may act for the job."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress

from replicate_job.aio import first_of
from replicate_job.clock import Clock
from replicate_job.errors import JobHeldError, JournalError
from replicate_job.flow.context import Context, moment
from replicate_job.job import Job
from replicate_job.journal.entry import Claim, CreateRequest
from replicate_job.wire.prediction import Prediction

ASKED, TRUSTED = 0.5, 2.0
"""Seconds between two attempts to claim a job that another process holds. ``ASKED`` is for a job without news from the
journal, ``TRUSTED`` for a job with news."""
SOON = 0.05
"""The shortest pause between two attempts to claim, in seconds."""


async def take(  # noqa: PLR0913 - it passes on the parameters of the journal's claim
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
    """Claim the job. While another process holds the claim, wait for the claim.

    Raises JobHeldError if the wait is longer than ``within`` seconds; None means no limit.
    """
    until = math.inf if within is None else context.clock.now() + within

    def claim() -> Awaitable[Claim]:
        return context.journal.claim(
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

    try:
        return await claim()
    except JobHeldError as error:
        return await _take_over(context, key, claim, error, until)


async def _take_over(
    context: Context, key: str, claim: Callable[[], Awaitable[Claim]], error: JobHeldError, until: float
) -> Claim:
    """Claim a job that another process holds, as soon as the job is free. Raises JobHeldError at ``until``."""
    clock = context.clock
    if clock.now() >= until:
        raise error
    context.reporter.warn(f"{error}: waiting for it")
    # The journal sends no news of a batch's rows.
    with context.journal.news(key) if context.strategy.batch is None else nullcontext() as news:
        # With news, try at once: the claim may have been released before the news began.
        left = 0.0 if news else _left(clock, error, until)
        while True:
            if news and news.is_live:
                await first_of(clock.sleep(min(TRUSTED, left)), news.wait())
            else:
                await clock.sleep(min(ASKED, left))
            try:
                return await claim()
            except JobHeldError as again:
                if clock.now() >= until:
                    raise
                left = _left(clock, again, until)


def _left(clock: Clock, error: JobHeldError, until: float) -> float:
    """Seconds until the holder's lease ends, but at most until the clock's ``now`` reaches ``until``."""
    return max(SOON, min(error.until - clock.time(), until - clock.now()))


async def release(context: Context, claim: Claim, made: Prediction | None = None) -> None:
    """Release the claim, even if this task is cancelled. ``made`` is a prediction to record with the release."""
    with suppress(JournalError):
        await asyncio.shield(context.journal.release(claim, made))


@asynccontextmanager
async def held(context: Context, claim: Claim) -> AsyncIterator[None]:
    """A context manager that releases the claim at its end."""
    try:
        yield
    finally:
        await release(context, claim)
