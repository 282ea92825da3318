"""The claim on a job: only the process that holds it may act for the job."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

from replicate_job.aio import first_of
from replicate_job.errors import JobHeldError, JournalError
from replicate_job.flow.context import Context, moment
from replicate_job.job import Job
from replicate_job.journal.entry import Claim, CreateRequest
from replicate_job.journal.news import News
from replicate_job.wire.prediction import Prediction

ASKED, TRUSTED = 0.5, 2.0
"""Seconds between two attempts to claim a job that another process holds: without and with news from the journal."""
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
    clock, until = context.clock, math.inf if within is None else context.clock.now() + within
    has_warned = False
    news: News | None = None
    with ExitStack() as stack:
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
            except JobHeldError as error:
                if clock.now() >= until:
                    raise
                left = max(SOON, min(error.until - clock.time(), until - clock.now()))
                if not has_warned:
                    has_warned = True
                    context.reporter.warn(f"{error}: waiting for it")
                    if context.strategy.batch is None:  # the journal sends no news of a batch's rows
                        news = stack.enter_context(context.journal.news(key))
                        continue  # the claim may have been released before the news began
            if news and news.is_live:
                await first_of(clock.sleep(min(TRUSTED, left)), news.wait())
            else:
                await clock.sleep(min(ASKED, left))


async def release(context: Context, claim: Claim, made: Prediction | None = None) -> None:
    """Release the claim, even if this task is cancelled. ``made`` is a prediction that the journal lacks."""
    with suppress(JournalError):
        await asyncio.shield(context.journal.release(claim, made))


@asynccontextmanager
async def held(context: Context, claim: Claim) -> AsyncIterator[None]:
    """A context manager that releases the claim at its end."""
    try:
        yield
    finally:
        await release(context, claim)
