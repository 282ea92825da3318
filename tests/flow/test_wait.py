"""Waiting: only a terminal status is the end, and a failed poll does not fail the job."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from replicate_job.errors import APIError, AuthenticationError, NotFoundError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job, Result
from replicate_job.testing import Script, ScriptedAPI

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private", {"n": 1}, poll_interval=0.05, max_poll_attempts=200)
POLLED = Ask(JOB, key="job", blocking_wait=0)
HELD = Ask(JOB, key="job")


@pytest.fixture
def connect(connect_known: Connect) -> Connect:
    return connect_known


async def waiting(context: Context, ask: Ask, seen: Callable[[], object]) -> asyncio.Task[Result]:
    """Start the job, and return its task as soon as ``seen`` is true. The job must still run then."""
    task = asyncio.create_task(run_job(context, ask))
    while not seen() and not task.done():  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.005)
    assert not task.done(), task
    return task


@pytest.mark.parametrize("ask", [POLLED, HELD], ids=["polled", "held"])
async def test_a_prediction_with_a_complete_output_is_waited_for_while_its_status_is_processing(
    api: ScriptedAPI, connect: Connect, heard: Any, ask: Ask
) -> None:
    api.next(Script(boot=0, duration=math.inf, output_at=0, output=["x"]))
    async with connect(api) as context:
        task = await waiting(context, ask, lambda: heard.statuses.count("processing") > 1)
        (prediction,) = api.predictions
        prediction.finish()
        result = await task
    assert (result.status, result.output) == ("succeeded", ["x"])
    assert result.completed_at is not None
    assert result.metrics["predict_time"] == pytest.approx(prediction.ended - prediction.started)


@pytest.mark.parametrize("ask", [POLLED, HELD], ids=["polled", "held"])
@pytest.mark.parametrize(
    ("script", "status"),
    [
        (Script(duration=0.1, output="x"), "succeeded"),
        (Script(duration=0.1, end="failed", error="out of memory"), "failed"),
        (Script(duration=0.1, end="canceled"), "canceled"),
        (Script(boot=5, duration=9, deadline=0.1), "aborted"),
        (Script(duration=9, deadline=0.1), "canceled"),
    ],
)
async def test_each_terminal_status_ends_the_wait(
    api: ScriptedAPI, connect: Connect, ask: Ask, script: Script, status: str
) -> None:
    api.next(script)
    ask = msgspec.structs.replace(ask, job=msgspec.structs.replace(JOB, cancel_after="30s"))
    async with connect(api) as context:
        result = await run_job(context, ask)
        entry = await context.journal.get("job")
    assert result.status == status
    assert result.error == ("out of memory" if status == "failed" else None)
    assert entry
    assert entry.state == "collected"


async def test_an_unknown_status_causes_one_warning_and_polling_continues(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.next(Script(timeline=((0, "starting"), (0.05, "queued")), duration=math.inf, output="x"))
    async with connect(api) as context:
        task = await waiting(context, POLLED, lambda: heard.statuses.count("queued") > 2)
        api.predictions[0].finish()
        assert (await task).status == "succeeded"
    assert heard.warnings == ["unknown status 'queued': waiting on"]


async def test_a_404_for_a_new_prediction_is_polled_again(connect: Connect) -> None:
    with ScriptedAPI(missing_for=math.inf) as api:
        async with connect(api) as context:
            task = await waiting(context, POLLED, lambda: api.count("get") > 1)
            api.predictions[0].visible = 0
            assert (await task).status == "succeeded"


async def test_a_404_that_lasts_raises_an_error(connect: Connect) -> None:
    with ScriptedAPI(missing_for=math.inf) as api:
        async with connect(api, appear=0.2) as context:
            with pytest.raises(NotFoundError):
                await run_job(context, POLLED)


async def test_failed_polls_do_not_fail_the_job(connect: Connect) -> None:
    faults = "get:503=0.1,get:drop=0.1,get:html=0.05,get:half=0.05"
    with ScriptedAPI(faults=faults, script=Script(duration=1, output="x")) as api:
        async with connect(api) as context:
            result = await run_job(context, POLLED)
        assert result.status == "succeeded"
        assert any(request.fault for request in api.requests)
        assert api.count("create") == 1


@pytest.mark.parametrize("ask", [POLLED, HELD], ids=["polled", "held"])
async def test_when_the_limit_of_polls_is_reached_the_prediction_runs_on_and_the_same_key_continues(
    api: ScriptedAPI, connect: Connect, ask: Ask
) -> None:
    api.next(Script(boot=0, duration=math.inf, output="x"))
    short = msgspec.structs.replace(JOB, poll_interval=0.5, max_poll_attempts=2)
    async with connect(api) as context:
        result = await run_job(context, msgspec.structs.replace(ask, job=short))
        entry = await context.journal.get("job")
        assert result.status == "processing"
        assert entry
        assert (entry.state, entry.prediction_id) == ("created", result.prediction_id)
        assert api.predictions[0].status == "processing"
        api.predictions[0].finish()
        assert (await run_job(context, ask)).status == "succeeded"
    assert len(api.predictions) == 1


async def test_the_limit_of_polls_holds_even_if_every_poll_fails(connect: Connect) -> None:
    with ScriptedAPI(faults="get:503=1", script=Script(duration=math.inf)) as api:
        short = msgspec.structs.replace(JOB, max_poll_attempts=4)
        async with connect(api) as context:
            result = await run_job(context, msgspec.structs.replace(POLLED, job=short))
        assert result.status in ("starting", "processing")
        assert 1 <= api.count("get") <= 5


async def test_if_no_poll_succeeds_the_last_error_is_raised(connect: Connect) -> None:
    with ScriptedAPI(faults="get:503=1") as api:
        api.faults.next("create", "drop-after")
        short = msgspec.structs.replace(JOB, max_poll_attempts=4)
        async with connect(api) as context:
            with pytest.raises(APIError, match="503"):
                await run_job(context, msgspec.structs.replace(POLLED, job=short))
            api.faults.clear()
            assert (await run_job(context, POLLED)).status == "succeeded"
        assert len(api.predictions) == 1


async def test_a_limit_that_the_create_request_has_used_up_still_allows_one_poll(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.faults.next("create", "drop-after(1s)")
    short = msgspec.structs.replace(JOB, max_poll_attempts=20)
    async with connect(api) as context:
        result = await run_job(context, msgspec.structs.replace(HELD, job=short))
    assert (result.status, result.output) == ("succeeded", "done")


async def test_a_401_ends_the_wait_and_the_same_key_continues_the_job(api: ScriptedAPI, connect: Connect) -> None:
    api.faults.next("get", "401")
    async with connect(api) as context:
        with pytest.raises(AuthenticationError):
            await run_job(context, POLLED)
        assert (await run_job(context, POLLED)).status == "succeeded"
    assert len(api.predictions) == 1


async def test_after_a_429_the_next_poll_waits_as_long_as_the_api_asks(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(Script(duration=0.2))
    api.faults.next("get", "429(body=4)")
    async with connect(api, clock=fast) as context:
        await run_job(context, msgspec.structs.replace(POLLED, job=msgspec.structs.replace(JOB, poll_interval=1.0)))
    assert 4 in fast.slept


async def test_a_job_without_a_wait_returns_the_created_prediction(api: ScriptedAPI, connect: Connect) -> None:
    api.next(Script(duration=math.inf))
    job = msgspec.structs.replace(JOB, wait_for_completion=False)
    async with connect(api) as context:
        result = await run_job(context, msgspec.structs.replace(POLLED, job=job))
    assert result.status == "starting"
    assert [request.operation for request in api.requests if request.path != "/v1/account"] == ["create"]


async def test_a_job_without_a_wait_survives_a_broken_create_request_and_a_404(connect: Connect) -> None:
    with ScriptedAPI(missing_for=0.5) as api:
        api.faults.next("create", "drop-after")
        job = msgspec.structs.replace(JOB, wait_for_completion=False)
        async with connect(api) as context:
            result = await run_job(context, msgspec.structs.replace(POLLED, job=job))
        assert result.prediction_id == api.predictions[0].id


async def test_logs_are_kept_after_the_api_has_deleted_them(connect: Connect) -> None:
    lines = "".join(f"step {number}\n" for number in range(1, 11))
    with ScriptedAPI(script=Script(duration=1, boot=0, end="failed", logs=lines), expire=0) as api:
        async with connect(api) as context:
            result = await run_job(context, POLLED)
            entry = await context.journal.get("job")
    assert result.status == "failed"
    assert result.logs
    assert lines.startswith(result.logs)
    assert entry
    assert entry.prediction
    assert entry.prediction.logs == result.logs
