"""The timeout of a call leaves the job as it is at any moment. The same key finishes the job. It is paid for once."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.errors import JobHeldError, JobTimeoutError, JournalError, PredictionUnfinishedError
from replicate_job.flow.cancel import cancel_job, run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.deadline import growing_timeout
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.testing import OutputFile, Script, ScriptedAPI

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private", {"n": 1}, poll_interval=0.05)
ASK = Ask(JOB, key="job", blocking_wait=0)
ENDLESS = Script(boot=0, duration=math.inf, output="done")
ENOUGH = 2
"""Seconds in which even a slow machine has sent the create request."""


@pytest.fixture
def connect(connect_known: Connect) -> Connect:
    return connect_known


async def over(context: Context, ask: Ask = ASK, timeout: float = ENOUGH) -> JobTimeoutError:  # noqa: ASYNC109 - it is under test
    """Run the job with this timeout and return the error."""
    with pytest.raises(JobTimeoutError) as caught:
        await run_job(context, msgspec.structs.replace(ask, timeout=timeout))
    return caught.value


async def finishes(context: Context, api: ScriptedAPI, ask: Ask = ASK) -> None:
    """Check that the same key finishes the job, with one prediction in all."""
    for prediction in api.predictions:
        prediction.finish()
    assert (await run_job(context, ask)).status == "succeeded"
    assert len(api.predictions) == 1


async def test_without_a_limit_a_job_is_polled_more_than_sixty_times(api: ScriptedAPI, connect: Connect) -> None:
    api.next(ENDLESS)
    ask = msgspec.structs.replace(ASK, job=msgspec.structs.replace(JOB, poll_interval=0.001))
    async with connect(api) as context:
        running = asyncio.create_task(run_job(context, ask))
        await asyncio.to_thread(api.wait_until, lambda: api.count("get") > 65)
        assert not running.done()
        api.predictions[0].finish()
        assert (await running).status == "succeeded"


async def test_the_pauses_between_polls_grow_with_the_wait(api: ScriptedAPI, connect: Connect, fast: Any) -> None:
    api.next(ENDLESS)
    ask = msgspec.structs.replace(ASK, job=Job("acme/private", {"n": 1}))
    async with connect(api, clock=fast) as context:
        running = asyncio.create_task(run_job(context, ask))
        await asyncio.to_thread(api.wait_until, lambda: any(pause > 1.1 for pause in fast.slept))
        api.predictions[0].finish()
        await running
    first, longest = fast.slept[0], max(fast.slept)
    assert first <= 1.0 < longest <= 5


async def test_a_timeout_leaves_the_prediction_running_and_returns_its_last_state(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        error = await over(context)
        (prediction,) = api.predictions
        assert isinstance(error, PredictionUnfinishedError)
        assert isinstance(error, TimeoutError)
        assert (error.result.prediction_id, error.result.status) == (prediction.id, "processing")
        assert (error.result.key, error.result.input) == ("job", {"n": 1})
        assert str(error) == (
            f"prediction {prediction.id} is still processing after 2 s and is left running: `replicate-job wait "
            f"{prediction.id}`, or the same key ('job'), goes on, `replicate-job cancel {prediction.id}` ends it"
        )
        assert prediction.canceled is None
        await finishes(context, api)
    assert "processing" in heard.statuses


async def test_a_timeout_replaces_the_jobs_own_limit(api: ScriptedAPI, connect: Connect) -> None:
    api.next(Script(duration=0.5, output="done"))
    limited = msgspec.structs.replace(ASK, job=msgspec.structs.replace(JOB, max_poll_attempts=1))
    async with connect(api) as context:
        result = await run_job(context, msgspec.structs.replace(limited, timeout=30))
        entry = await context.journal.get("job")
    assert result.status == "succeeded"
    assert entry
    assert entry.job.max_poll_attempts == 1  # so that `resume` waits as the job was made to


@pytest.mark.long
async def test_the_blocking_wait_ends_before_the_timeout_does(api: ScriptedAPI, connect: Connect) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        error = await over(context, msgspec.structs.replace(ASK, blocking_wait=60), timeout=2.5)
    (request,) = (request for request in api.requests if request.operation == "create")
    assert request.headers["prefer"] == "wait=1"
    assert error.result.status == "processing"


@pytest.mark.parametrize("fault", ["hang-before", "hang-after"])
async def test_after_a_timeout_during_the_create_request_the_same_key_looks_the_prediction_up(
    api: ScriptedAPI, connect: Connect, fault: str
) -> None:
    api.faults.next("create", fault)
    async with connect(api) as context:
        error = await over(context)
        assert str(error) == (
            "it is not known after 2 s whether a prediction was created: `replicate-job resume`, or the same key "
            "('job'), goes on, and pays once"
        )
        assert (error.result.prediction_id, error.result.status, error.result.key) == ("", "starting", "job")
        entry = await context.journal.get("job")
        assert entry
        assert entry.state == "intended"
        created = len(api.predictions)
        assert created == (1 if fault == "hang-after" else 0)
    if created:  # without a prediction, the look-up waits until the longest request would have ended
        async with connect(api) as context:
            await finishes(context, api)


@pytest.mark.long
@pytest.mark.parametrize(("operation", "fault"), [("model", "hang"), ("file", "hang"), ("create", "429(body=4)")])
async def test_after_a_timeout_before_the_create_request_the_same_key_continues_the_job(
    api: ScriptedAPI, connect: Connect, tmp_path: Path, operation: str, fault: str
) -> None:
    picture = tmp_path / "sketch.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300_000))
    ask = Ask(Job("stability-ai/sdxl", {"prompt": "x", "image": picture}), key="job")
    api.faults.next(operation, fault)
    async with connect(api) as context:
        error = await over(context, ask, timeout=1.5)
        assert api.count(operation) == 1
        assert str(error) == (
            "nothing was created within 1.5 s, and nothing is paid: `replicate-job resume`, or the same key ('job'), "
            "goes on"
        )
        assert (error.result.prediction_id, api.predictions) == ("", [])
    async with connect(api) as context:
        await finishes(context, api, ask)


async def test_the_timeout_includes_the_wait_for_another_process_with_the_key(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.next(ENDLESS)
    async with connect(api) as first, connect(api) as second:
        running = asyncio.create_task(run_job(first, ASK))
        await asyncio.to_thread(api.wait_until, lambda: api.count("get"))
        error = await over(second)
        assert "is being run by process" in heard.warnings[0]
        assert (error.result.prediction_id, error.result.key) == (api.predictions[0].id, "job")
        assert "is left running" in str(error)
        api.predictions[0].finish()
        assert (await running).status == "succeeded"
    assert len(api.predictions) == 1


async def test_a_timeout_before_the_key_is_checked_shows_no_other_job_of_that_key(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        await run_job(context, ASK)
        other = Ask(Job("acme/private", {"n": 2}), key="job", called=context.clock.now() - 9)
        error = await over(context, other, timeout=5)
    assert str(error) == "nothing was created within 5 s, and nothing is paid: it was not begun, so run it again"
    assert (error.result.prediction_id, error.result.model) == ("", "acme/private")


async def test_after_a_timeout_during_the_download_the_same_key_saves_the_outputs(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    api.next(Script(output=[OutputFile(content=b"\x89PNG\r\n\x1a\n" + bytes(100), name="a.png")]))
    api.faults.next("download", "hang")
    ask = Ask(Job("stability-ai/sdxl", {"prompt": "x"}), key="job", save=str(tmp_path / "out"))
    async with connect(api) as context:
        error = await over(context, ask, timeout=1)
        found = api.predictions[0].id
        assert str(error).startswith(f"prediction {found} succeeded, and its outputs are not all kept after 1 s: ")
        assert (error.result.status, error.result.files) == ("succeeded", ())
        result = await run_job(context, ask)
    assert [path.is_file() for path in result.files] == [True]
    assert len(api.predictions) == 1


class Failing:
    """A journal with one method that fails."""

    def __init__(self, journal: Any, method: str) -> None:
        self._journal, self._method = journal, method

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._method else getattr(self._journal, name)

    async def _fail(self, *_: Any, **__: Any) -> None:
        raise JournalError("the journal is held by another process")


async def test_with_an_unreadable_journal_the_error_does_not_claim_that_nothing_was_created(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.faults.next("create", "hang-after")
    async with connect(api) as context:
        journal: Any = Failing(context.journal, "get")
        error = await over(msgspec.structs.replace(context, journal=journal))
    assert str(error) == (
        "it is not known after 2 s whether a prediction was created (the journal is held by another process): "
        "`replicate-job resume`, or the same key ('job'), goes on, and pays once"
    )


async def test_the_error_names_a_prediction_that_the_journal_could_not_record(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        journal: Any = Failing(context.journal, "created")
        error = await over(msgspec.structs.replace(context, journal=journal))
        assert f"prediction {api.predictions[0].id} is still processing" in str(error)
        assert error.result.prediction_id == api.predictions[0].id
        await finishes(context, api)


class FailsLate(Failing):
    """A journal that is locked until after the caller's deadline: it fails once the caller no longer waits."""

    async def _fail(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()


async def has_id(context: Context, api: ScriptedAPI) -> bool:
    entry = await context.journal.get("job")
    return entry is not None and entry.prediction_id == api.predictions[0].id


@pytest.mark.parametrize("journal", [Failing, FailsLate])
async def test_an_id_that_could_not_be_recorded_is_recorded_when_the_timeout_releases_the_claim(
    api: ScriptedAPI, connect: Connect, journal: Any
) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        await over(msgspec.structs.replace(context, journal=journal(context.journal, "created")))
        assert await has_id(context, api)


async def test_an_id_that_could_not_be_recorded_is_recorded_when_the_jobs_limit_releases_the_claim(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.next(ENDLESS)
    ask = msgspec.structs.replace(ASK, job=msgspec.structs.replace(JOB, max_poll_attempts=2))
    async with connect(api) as context:
        journal: Any = Failing(context.journal, "created")
        with pytest.raises(JournalError) as caught:
            await run_job(msgspec.structs.replace(context, journal=journal), ask)
        assert caught.value.result
        assert caught.value.result.status == "processing"
        assert await has_id(context, api)


@pytest.mark.long
async def test_a_timeout_while_the_end_is_written_still_records_the_end_and_the_id(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        journal: Any = FailsLate(Failing(context.journal, "created"), "ended")
        await over(msgspec.structs.replace(context, journal=journal))
        entry = await context.journal.get("job")
    assert entry
    assert (entry.state, entry.prediction_id) == ("ended", api.predictions[0].id)


async def test_a_finished_job_is_returned_within_any_timeout(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        first = await run_job(context, ASK)
        late = msgspec.structs.replace(ASK, timeout=1, called=context.clock.now() - 5)
        assert await run_job(context, late) == first


async def test_ctrl_c_within_a_timeout_cancels_the_prediction(api: ScriptedAPI, connect: Connect) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        running = asyncio.create_task(run_or_cancel(context, msgspec.structs.replace(ASK, timeout=60)))
        await asyncio.to_thread(api.wait_until, lambda: api.count("get"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert api.predictions[0].status == "canceled"


async def test_a_job_timeout_error_can_be_pickled(api: ScriptedAPI, connect: Connect) -> None:
    api.next(ENDLESS)
    async with connect(api) as context:
        error = await over(context)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), str(copy), copy.result) == (JobTimeoutError, str(error), error.result)


async def test_a_cancel_waits_only_a_limited_time_for_another_process_with_the_claim(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.next(ENDLESS)
    async with connect(api) as first, connect(api) as second:
        running = asyncio.create_task(run_job(first, ASK))
        await asyncio.to_thread(api.wait_until, lambda: api.count("get"))
        entry = await second.journal.get("job")
        assert entry
        with pytest.raises(JobHeldError):
            await cancel_job(second, entry, within=0.1)
        api.predictions[0].finish()
        await running


@pytest.mark.long
async def test_polls_that_fail_for_a_long_time_cause_one_warning(
    api: ScriptedAPI, connect: Connect, heard: Any, fast: Any
) -> None:
    api.next(ENDLESS)
    api.faults.next("get", *["503"] * 60)
    async with connect(api, clock=fast) as context:
        ask = msgspec.structs.replace(ASK, job=msgspec.structs.replace(JOB, poll_interval=1))
        running = asyncio.create_task(run_job(context, ask))
        await asyncio.to_thread(api.wait_until, lambda: api.count("get") > 61)
        api.predictions[0].finish()
        await running
    assert ["asking again" in line for line in heard.warnings] == [True]


@pytest.mark.parametrize(("seconds", "text"), [(1, "10m"), (300, "10m"), (301, "11m"), (3600, "120m")])
def test_a_hint_suggests_twice_the_timeout_and_at_least_ten_minutes(seconds: float, text: str) -> None:
    assert growing_timeout(seconds) == text
