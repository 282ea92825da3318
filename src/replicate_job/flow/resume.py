"""Finishes interrupted jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import islice

from replicate_job.errors import ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Outcome

TOGETHER = 32
"""The number of jobs that are finished at the same time. Each job polls its own prediction."""


async def resume(context: Context, asks: Sequence[Ask]) -> AsyncGenerator[tuple[Ask, Outcome], None]:
    """Run these jobs, ``TOGETHER`` at a time. Yields each ask with its result or error when its job ends."""

    async def finish(ask: Ask) -> tuple[Ask, Outcome]:
        try:
            return ask, await run_job(context, ask)
        except ReplicateJobError as error:
            return ask, error

    left, running = iter(asks), set[asyncio.Task[tuple[Ask, Outcome]]]()
    try:
        while True:
            running |= {asyncio.create_task(finish(ask)) for ask in islice(left, TOGETHER - len(running))}
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
