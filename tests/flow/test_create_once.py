"""The promise: however connections break, every job has exactly one prediction, and no other prediction exists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job, Result
from replicate_job.testing import Faults, Script, ScriptedAPI

pytestmark = pytest.mark.long

Connect = Callable[..., AbstractAsyncContextManager[Context]]
FAULTS = "create:drop-after=0.2,create:drop-before=0.1,create:500-after=0.1,create:500-before=0.05"


async def run_all(context: Context, jobs: list[Job], *, together: int) -> list[Result]:
    gate = asyncio.Semaphore(together)

    async def one(number: int, job: Job) -> Result:
        async with gate:
            return await run_job(context, Ask(job, key=f"job-{number}"))

    return await asyncio.gather(*(one(number, job) for number, job in enumerate(jobs)))


@pytest.mark.parametrize(
    ("count", "inputs"),
    [(1000, lambda number: {"n": number}), (200, lambda _: {"prompt": "the same"})],
    ids=["1000-different", "200-identical"],
)
async def test_every_job_has_exactly_one_prediction_though_45_of_100_create_requests_break(
    connect: Connect, count: int, inputs: Callable[[int], dict[str, Any]]
) -> None:
    script = Script(duration=0, boot=0, output="done")
    faults = Faults.parse(FAULTS, seed=7)
    jobs = [Job("acme/private", inputs(number), poll_interval=0.5, max_poll_attempts=100) for number in range(count)]
    with ScriptedAPI(script=script, faults=faults, list_lag=(0, 2)) as api:
        async with connect(api, settle=3) as context:
            results = await run_all(context, jobs, together=100)
            entries = await context.journal.entries()
        struck = sum(request.fault.endswith("-after") for request in api.requests)
        made = {prediction.id: prediction.input for prediction in api.predictions}
    assert len(made) == count
    assert {result.prediction_id for result in results} == made.keys()
    assert [made[result.prediction_id] for result in results] == [job.input_data for job in jobs]
    assert {result.status for result in results} == {"succeeded"}
    assert {result.output for result in results} == {"done"}
    assert {entry.state for entry in entries} == {"collected"}
    assert struck > count / 5  # enough faults were injected
