"""Ctrl-C at any moment leaves no prediction running and reports the outcome. A prediction can be taken over by id."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from replicate_job.errors import JobError, NotFoundError, UncertainError
from replicate_job.flow.adopt import adopt
from replicate_job.flow.cancel import cancel_job, cancel_known, cancel_prediction, run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.testing import Script, ScriptedAPI, Stream
from replicate_job.wire.target import Target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private", {"n": 1}, poll_interval=0.05, max_poll_attempts=400)
REQUEST = CreateRequest(Target("model", "acme", "private"), "/models/acme/private/predictions", b'{"input":{"n":1}}')
ENDLESS = Script(duration=math.inf, output="x")


async def interrupt(
    context: Context, api: ScriptedAPI, when: Callable[[], object], ask: Ask | None = None, **how: Any
) -> None:
    """Run the job. As soon as ``when`` is true, interrupt it as Ctrl-C does."""
    running = asyncio.create_task(run_or_cancel(context, ask or Ask(JOB, key="job"), **how))
    await asyncio.to_thread(api.wait_until, when)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("blocking_wait", [0, 60], ids=["while polling", "during the blocking wait"])
async def test_ctrl_c_cancels_the_prediction_at_the_api(
    api: ScriptedAPI, connect: Connect, heard: Any, blocking_wait: int
) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        ready = (lambda: api.count("get")) if blocking_wait == 0 else (lambda: api.predictions)
        await interrupt(context, api, ready, Ask(JOB, key="job", blocking_wait=blocking_wait))
        entry = await context.journal.get("job")
    (prediction,) = api.predictions
    assert prediction.status == "canceled"
    assert heard.warnings[-1] == f"interrupted: prediction {prediction.id} is canceled"
    assert entry
    assert entry.prediction
    assert entry.prediction.status == "canceled"
    assert api.count("create") == 1


async def test_ctrl_c_during_the_blocking_wait_cancels_a_prediction_that_is_listed_late(
    connect: Connect, heard: Any
) -> None:
    with ScriptedAPI(script=ENDLESS, list_lag=0.4) as api:
        async with connect(api, settle=1) as context:
            await interrupt(context, api, lambda: api.predictions)
        assert [prediction.status for prediction in api.predictions] == ["canceled"]
    assert any("looking for the prediction that was being created" in line for line in heard.warnings)


async def test_ctrl_c_cancels_a_prediction_that_the_api_does_not_know_yet(connect: Connect) -> None:
    with ScriptedAPI(script=ENDLESS, missing_for=0.5) as api:
        async with connect(api) as context:
            await interrupt(context, api, lambda: api.predictions)
        assert [prediction.status for prediction in api.predictions] == ["canceled"]


async def test_ctrl_c_while_text_is_streamed_cancels_the_prediction_too(api: ScriptedAPI, connect: Connect) -> None:
    api.next(Script(duration=math.inf, output=["a", "b"], stream=Stream(interval=30)))
    job = msgspec.structs.replace(JOB, model="meta/llama-2-70b-chat", input_data={"prompt": "x"})
    pieces: list[str] = []
    async with connect(api) as context:
        await interrupt(context, api, lambda: pieces, Ask(job, key="job", emit=pieces.append))
    assert api.predictions[0].status == "canceled"
    assert pieces == ["a"]


async def test_ctrl_c_before_the_create_request_frees_the_key(api: ScriptedAPI, connect: Connect, heard: Any) -> None:
    api.faults.next("model", "hang")
    async with connect(api) as context:
        await interrupt(context, api, lambda: api.count("model"))
        entry = await context.journal.get("job")
    assert entry
    assert entry.state == "refused"
    assert heard.warnings[-1] == "interrupted: nothing was created"
    assert api.predictions == []


async def test_ctrl_c_reports_that_a_lost_create_request_created_nothing(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.faults.next("create", "hang-before")
    async with connect(api) as context:
        await interrupt(context, api, lambda: api.count("create"))
        assert heard.warnings[-1] == "interrupted: nothing was created"
        assert (await run_job(context, Ask(JOB, key="job"))).status == "succeeded"
    assert len(api.predictions) == 1


async def test_ctrl_c_during_the_wait_after_a_429_does_not_search_the_list(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.faults.next("create", "429(body=60)")
    async with connect(api) as context:
        await interrupt(context, api, lambda: heard.warnings)
    assert heard.warnings[-1] == "interrupted: nothing was created"
    assert api.count("list") == 0


async def test_a_failed_cancel_request_is_sent_again(api: ScriptedAPI, connect: Connect, fast: Any) -> None:
    api.next(ENDLESS)
    api.faults.next("cancel", "503", "drop", "429(body=1)")
    async with connect(api, clock=fast) as context:
        await interrupt(context, api, lambda: api.predictions)
    assert api.predictions[0].status == "canceled"


async def test_a_cancel_request_that_keeps_failing_is_reported_and_the_job_can_be_resumed(
    connect: Connect, heard: Any
) -> None:
    with ScriptedAPI(script=ENDLESS, faults="cancel:403=1") as api:
        async with connect(api) as context:
            await interrupt(context, api, lambda: api.predictions)
            assert "interrupted, and not canceled: " in heard.warnings[-1]
            api.predictions[0].finish()
            result = await run_job(context, Ask(JOB, key="job"))
        assert (result.status, len(api.predictions)) == ("succeeded", 1)


async def test_sigterm_leaves_the_prediction_running_and_names_the_command_that_continues(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        await interrupt(context, api, lambda: api.predictions, leave=lambda: True)
        assert api.predictions[0].status in {"starting", "processing"}
        assert "replicate-job resume" in heard.warnings[-1]
        api.predictions[0].finish()
        assert (await run_job(context, Ask(JOB, key="job"))).status == "succeeded"
    assert len(api.predictions) == 1


async def test_a_second_ctrl_c_ends_the_job_at_once(api: ScriptedAPI, connect: Connect) -> None:
    api.next(ENDLESS)
    api.faults.next("cancel", "hang")
    async with connect(api) as context, asyncio.timeout(5):
        running = asyncio.create_task(run_or_cancel(context, Ask(JOB, key="job")))
        await asyncio.to_thread(api.wait_until, lambda: api.predictions)
        running.cancel()
        await asyncio.to_thread(api.wait_until, lambda: api.count("cancel"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_prediction_that_ended_before_the_cancel_keeps_its_status(api: ScriptedAPI, connect: Connect) -> None:
    api.next(Script(duration=0, output="x"))
    async with connect(api) as context:
        created = await context.client.create_prediction(REQUEST.path, REQUEST.body, await context.client.take_slot())
        assert (await cancel_prediction(context, created.id)).status == "succeeded"
        claim = await context.journal.claim("job", context.api, JOB, None)
        await context.journal.created(claim, created)
        await context.journal.release(claim)
        entry = await context.journal.get("job")
        assert entry
        ended = await cancel_job(context, entry)
    assert ended
    assert ended.status == "succeeded"


async def test_a_cancel_waits_for_the_canceled_status(api: ScriptedAPI, connect: Connect) -> None:
    api.next(msgspec.structs.replace(ENDLESS, cancel_lag=0.4))
    async with connect(api) as context:
        created = await context.client.create_prediction(REQUEST.path, REQUEST.body, await context.client.take_slot())
        assert (await cancel_prediction(context, created.id)).status == "canceled"


async def test_a_prediction_of_another_program_is_taken_over_without_its_input(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        created = await context.client.create_prediction(REQUEST.path, REQUEST.body, await context.client.take_slot())
        entry = await adopt(context, created.id, key=None, save=None)
        assert (entry.key, entry.job.model, entry.job.input_data) == (created.id, "acme/private", {})
        assert (await adopt(context, created.id, key=None, save=None)) == entry
        job = msgspec.structs.replace(entry.job, poll_interval=0.05)
        result = await run_job(context, Ask(job, key=entry.key))
    assert (result.prediction_id, result.status) == (created.id, "succeeded")
    assert api.count("create") == 1


async def test_a_user_can_name_the_prediction_of_an_uncertain_job(connect: Connect) -> None:
    with ScriptedAPI(faults="list:403=1") as api:
        api.faults.next("create", "drop-after")
        async with connect(api) as context:
            with pytest.raises(UncertainError):
                await run_job(context, Ask(JOB, key="job"))
            mine = api.predictions[0].id
            entry = await adopt(context, mine, key="job", save=None)
            assert (entry.key, entry.prediction_id) == ("job", mine)
            assert (await run_job(context, Ask(JOB, key="job"))).prediction_id == mine
        assert len(api.predictions) == 1


async def test_a_prediction_of_one_job_cannot_be_taken_over_by_another_job(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        first = await run_job(context, Ask(JOB, key="first"))
        other = await context.client.create_prediction(REQUEST.path, REQUEST.body, await context.client.take_slot())
        with pytest.raises(JobError, match="the prediction of the job 'first' already"):
            await adopt(context, first.prediction_id, key="second", save=None)
        with pytest.raises(JobError, match=f"has the prediction {first.prediction_id} already"):
            await adopt(context, other.id, key="first", save=None)
        assert await context.journal.find(other.id, context.api) is None


async def test_an_unknown_prediction_cannot_be_taken_over(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api, appear=0) as context:
        with pytest.raises(NotFoundError):
            await adopt(context, "nothing", key=None, save=None)
        assert await context.journal.entries() == []


async def test_canceling_an_ended_job_keeps_stored_data_that_the_api_has_deleted(connect: Connect) -> None:
    script = Script(duration=0, output="x", logs="all well\n")
    with ScriptedAPI(script=script, expire=1) as api:
        async with connect(api) as context:
            claim = await context.journal.claim("job", context.api, JOB, "/nowhere", request=REQUEST)
            await context.journal.created(
                claim,
                await context.client.create_prediction(REQUEST.path, REQUEST.body, await context.client.take_slot()),
            )
            await context.journal.release(claim)
            await asyncio.to_thread(api.wait_until, lambda: api.predictions[0].snapshot()["data_removed"])
            await cancel_known(context, api.predictions[0].id)
            entry = await context.journal.get("job")
    assert entry
    assert entry.prediction
    assert (entry.prediction.logs, entry.prediction.input) == ("all well\n", {"n": 1})
