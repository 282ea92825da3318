"""A job is run to its end from every state in the journal. Its key, and the process that holds its claim."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from tests.asked import asked
from tests.conftest import LaterClock

from replicate_job.clock import SystemClock
from replicate_job.errors import (
    InputError,
    InvalidRequestError,
    JobError,
    JobHeldError,
    JournalError,
    KeyInUseError,
    ModelNotFoundError,
    NoAnswerError,
)
from replicate_job.flow.claim import held
from replicate_job.flow.context import Context, moment
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.journal.entry import Claim, CreateRequest
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel
from replicate_job.wire.target import Target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private", {"n": 1}, poll_interval=0.05, max_poll_attempts=400)
REQUEST = CreateRequest(Target("model", "acme", "private"), "/models/acme/private/predictions", b'{"input":{"n":1}}')


async def run(context: Context, key: str = "job", job: Job = JOB, **how: Any) -> Any:
    return await run_job(context, Ask(job, key=key, **how))


async def test_a_finished_job_returns_its_stored_result_without_a_request(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    api.next(Script(output=[OutputFile(content=b"\x89PNG\r\n", name="a.png")]))
    job = msgspec.structs.replace(JOB, model="stability-ai/sdxl", input_data={"prompt": "x"})
    async with connect(api) as context:
        first = await run(context, job=job, save=str(tmp_path / "out"))
    before = len(asked(api))
    async with connect(api) as context:
        again = await run(context, job=msgspec.structs.replace(job, poll_interval=9), save=str(tmp_path / "out"))
    assert again == first
    assert again.files
    assert len(asked(api)) == before


async def test_another_job_with_the_same_key_is_refused_before_any_request(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        await run(context)
        before = len(asked(api))
        for other in ({"input_data": {"n": 2}}, {"model": "acme/other"}):
            with pytest.raises(KeyInUseError, match="'job' belongs to another job"):
                await run(context, job=msgspec.structs.replace(JOB, **other))
    assert len(asked(api)) == before


async def test_a_refused_job_can_be_corrected_under_its_key(api: ScriptedAPI, connect: Connect) -> None:
    model = "black-forest-labs/flux-schnell"
    wrong = msgspec.structs.replace(JOB, model=model, input_data={"promt": "x"})
    async with connect(api) as context:
        with pytest.raises(InputError, match="promt"):
            await run(context, job=wrong)
        api.faults.next("create", "422")
        right = msgspec.structs.replace(wrong, input_data={"prompt": "x"})
        with pytest.raises(InvalidRequestError):
            await run(context, job=right)
        assert (await run(context, job=right)).status == "succeeded"
    assert [prediction.input for prediction in api.predictions] == [{"prompt": "x"}]


async def test_a_job_that_can_be_refused_without_a_request_is_not_journaled(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        for wrong in ({"model": "flux"}, {"cancel_after": "3s"}, {"cancel_after": "soon"}, {"cancel_after": "25h"}):
            with pytest.raises(JobError):
                await run(context, job=msgspec.structs.replace(JOB, **wrong))
        assert await context.journal.get("job") is None
    assert api.requests == []


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("acme/private", "/v1/models/acme/private/predictions", None),
        ("black-forest-labs/flux-schnell", "/v1/models/black-forest-labs/flux-schnell/predictions", None),
        (
            "replicate/hello-world",
            "/v1/predictions",
            "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
        ),
        ("deployments/acme/flux", "/v1/deployments/acme/flux/predictions", None),
    ],
)
async def test_each_kind_of_model_is_created_in_its_own_way(
    api: ScriptedAPI, connect: Connect, model: str, path: str, version: str | None
) -> None:
    given = {"text": "x"} if "hello" in model else {"prompt": "x"}
    async with connect(api) as context:
        result = await run(context, job=msgspec.structs.replace(JOB, model=model, input_data=given))
    (request,) = (request for request in api.requests if request.operation == "create")
    assert request.path == path
    assert msgspec.json.decode(request.body).get("version") == version
    assert result.status == "succeeded"


@pytest.mark.parametrize("model", ["acme/nothing", "acme/nothing:" + "a" * 64])
async def test_the_error_for_a_missing_model_lists_the_look_ups(api: ScriptedAPI, connect: Connect, model: str) -> None:
    async with connect(api) as context:
        with pytest.raises(ModelNotFoundError, match=r"tried GET /models/acme/nothing"):
            await run(context, job=msgspec.structs.replace(JOB, model=model))


async def test_a_community_model_keeps_its_resolved_version_after_a_crash(api: ScriptedAPI, connect: Connect) -> None:
    model = ScriptedModel(name="acme/changing", versions=("1" * 64,), schema={}, script=Script(output="x"))
    api.models["acme/changing"] = model
    job = msgspec.structs.replace(JOB, model="acme/changing")
    async with connect(api) as context:
        api.faults.next("list", "403")
        api.faults.next("create", "drop-after")
        with pytest.raises(Exception, match="403"):
            await run(context, job=job)
        api.models["acme/changing"] = msgspec.structs.replace(model, versions=("2" * 64, "1" * 64))
        await run(context, job=job)
    assert [prediction.version for prediction in api.predictions] == ["1" * 64]


async def leave_at(context: Context, state: str) -> Claim:
    """Leave a job in ``state``, as a process that ended would."""
    journal, client = context.journal, context.client
    claim = await journal.claim("job", context.api, JOB, None)
    if state == "claimed":
        return claim
    await journal.intend(claim, REQUEST, moment(context))
    if state == "intended, not sent":
        return claim
    prediction = await client.create_prediction(REQUEST.path, REQUEST.body, await client.take_slot())
    if state == "uncertain":
        await journal.uncertain(claim, "nobody knew")
    if state in {"created", "ended"}:
        await journal.created(claim, prediction)
    if state == "ended":
        while not (prediction := await client.get_prediction(prediction.id)).is_terminal:  # noqa: ASYNC110 - polling
            await asyncio.sleep(0.01)
        await journal.ended(claim, prediction)
    return claim


@pytest.mark.parametrize("state", ["claimed", "intended, not sent", "intended", "uncertain", "created", "ended"])
async def test_a_job_continues_from_the_state_in_which_it_was_left(
    api: ScriptedAPI, connect: Connect, state: str
) -> None:
    async with connect(api) as context:
        claim = await leave_at(context, state)
        await context.journal.release(claim)
    async with connect(api) as context:
        result = await run(context)
        entry = await context.journal.get("job")
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]
    assert (result.status, result.output, result.input) == ("succeeded", "done", {"n": 1})
    assert entry
    assert entry.state == "collected"


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_the_token_is_nowhere_in_the_journal(api: ScriptedAPI, connect: Connect, tmp_path: Path) -> None:
    async with connect(api) as context:
        await run(context)
    assert not any(api.token.encode() in content for content in contents(tmp_path))


async def test_a_process_waits_for_the_result_of_a_job_that_another_process_runs(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    api.next(Script(duration=0.4, output="x"))
    async with connect(api) as one, connect(api) as other:
        first, second = await asyncio.gather(run(one), run(other))
    assert first == second
    assert api.count("create") == 1
    assert [line for line in heard.warnings if "is being run by process" in line]


class Paused:
    """A client whose process is stopped (SIGSTOP) just before its create request, until ``go``."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create_prediction(self, *given: Any, **options: Any) -> Any:
        self.reached.set()
        await self.go.wait()
        return await self._client.create_prediction(*given, **options)


@pytest.mark.long
async def test_a_process_stopped_before_its_create_request_cancels_the_second_prediction(
    api: ScriptedAPI, connect: Connect, same_journal: Any, heard: Any
) -> None:
    # For the second process, the first one's lease ended long ago, and its request has ended.
    async with connect(api) as sleeper, connect(api, clock=LaterClock(150)) as opened:
        paused: Any = Paused(sleeper.client)
        short = msgspec.structs.replace(JOB, max_poll_attempts=20)  # the second process waits for all of it
        sleeping = asyncio.create_task(run(msgspec.structs.replace(sleeper, client=paused), job=short))
        await paused.reached.wait()
        async with same_journal.open(later=150) as journal:
            api.next(Script(duration=0.2, output="first"), Script(duration=30, output="second"))
            taken = await run(msgspec.structs.replace(opened, journal=journal))
        paused.go.set()
        woken = await sleeping
    first, second = api.predictions
    assert taken.prediction_id == woken.prediction_id == first.id
    assert woken.output == "first"
    assert second.status == "canceled"
    assert [line for line in heard.warnings if f"canceling {second.id}" in line]


async def test_a_process_stopped_before_its_intent_creates_nothing(
    api: ScriptedAPI, connect: Connect, same_journal: Any
) -> None:
    async with connect(api) as sleeper, connect(api) as opened:
        await sleeper.client.get_account()
        claim = await sleeper.journal.claim("job", sleeper.api, JOB, None)
        async with same_journal.open(later=60) as journal:
            await run(msgspec.structs.replace(opened, journal=journal))
        with pytest.raises(JournalError, match="taken over"):
            await sleeper.journal.intend(claim, REQUEST, moment(sleeper))
    assert api.count("create") == 1


class Failing:
    """A journal that fails one time when ``fact`` is written."""

    def __init__(self, journal: Any, fact: str) -> None:
        self._journal, self._fact = journal, fact

    def __getattr__(self, name: str) -> Any:
        if name != self._fact:
            return getattr(self._journal, name)
        self._fact = ""

        async def fail(*_: Any, **__: Any) -> None:
            raise JournalError("the journal is held by another process")

        return fail


@pytest.mark.parametrize("fact", ["created", "ended"])
async def test_a_state_that_could_not_be_journaled_is_written_with_the_next_state(
    api: ScriptedAPI, connect: Connect, fact: str
) -> None:
    async with connect(api) as context:
        failing: Any = Failing(context.journal, fact)
        result = await run(msgspec.structs.replace(context, journal=failing), blocking_wait=0)
        entry = await context.journal.get("job")
        assert await run(context) == result
    assert entry
    assert (entry.state, entry.prediction_id, entry.status) == ("collected", result.prediction_id, "succeeded")
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]


@pytest.mark.parametrize("fact", ["collected"])
async def test_a_journal_that_fails_after_the_create_request_does_not_lose_the_result(
    api: ScriptedAPI, connect: Connect, fact: str
) -> None:
    async with connect(api) as context:
        failing: Any = Failing(context.journal, fact)
        with pytest.raises(JournalError, match="held by another process") as caught:
            await run(msgspec.structs.replace(context, journal=failing), blocking_wait=0)
        assert caught.value.result.status == "succeeded"
        assert caught.value.result.output == "done"
        again = await run(context)
        found = await context.journal.find(again.prediction_id, context.api)
    assert [prediction.id for prediction in api.predictions] == [again.prediction_id]
    assert found
    assert found.key == "job"


async def test_if_the_journal_fails_before_the_create_request_nothing_is_sent(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        failing: Any = Failing(context.journal, "intend")
        with pytest.raises(JournalError):
            await run(msgspec.structs.replace(context, journal=failing))
    assert api.count("create") == 0


async def test_a_model_request_that_fails_for_a_while_is_sent_again(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.faults.next("model", "503", "drop", "429(body=2)", "half")
    async with connect(api, clock=fast) as context:
        assert (await run(context)).status == "succeeded"


async def test_a_model_request_that_keeps_failing_frees_the_key(connect: Connect, fast: Any) -> None:
    with ScriptedAPI(faults="model:drop=1") as api:
        async with connect(api, clock=fast) as context:
            with pytest.raises(NoAnswerError, match=r"GET .*/models/acme/private"):
                await run(context)
            entry = await context.journal.get("job")
        assert entry
        assert entry.state == "refused"
        assert api.count("create") == 0


PROGRAM = """
import sys, asyncio
from replicate_job import arun, Job
job = Job("stability-ai/sdxl", {"prompt": "x"}, poll_interval=0.05, max_poll_attempts=400)
print(asyncio.run(arun(job, key="job", journal=sys.argv[1], save_to=sys.argv[2])).prediction_id)
"""


@pytest.mark.parametrize("count", range(1, 8))
async def test_a_job_whose_process_is_killed_at_its_nth_request_has_one_prediction(
    api: ScriptedAPI, connect: Connect, same_journal: Any, tmp_path: Path, count: int
) -> None:
    """The requests are: the model, the create request, polls, two downloads. SIGKILL comes while one is answered."""
    picture = b"\x89PNG\r\n\x1a\n" + b"x" * 5000
    files = [OutputFile(content=picture + bytes([number]), name=f"{number}.png") for number in range(2)]
    api.models["stability-ai/sdxl"] = msgspec.structs.replace(
        api.models["stability-ai/sdxl"], script=Script(duration=0.05, output=files)
    )
    for operation in ("model", "create", "get", "download"):
        api.faults.next(operation, *["slow-after(150ms)"] * 3)
    arguments = [same_journal.address, str(tmp_path / "out")]
    environment = dict(api.environment) | {"XDG_STATE_HOME": str(tmp_path / "state")}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *arguments, env=environment)
    exiting = asyncio.create_task(process.wait())
    await asyncio.to_thread(api.wait_until, lambda: exiting.done() or len(api.requests) >= count)
    if not exiting.done():
        process.kill()
    await exiting
    api.faults.clear()
    same_journal.lapse(60)
    job = Job("stability-ai/sdxl", {"prompt": "x"}, poll_interval=0.05, max_poll_attempts=400)
    async with connect(api) as context:
        result = await run(context, job=job, save=str(tmp_path / "out"))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]
    assert [path.read_bytes() for path in result.files] == [file.content for file in files]


async def test_the_next_run_downloads_files_that_were_not_saved_or_have_been_deleted(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    job = Job("black-forest-labs/flux-schnell", {"prompt": "x"})
    async with connect(api) as context:
        assert (await run_job(context, Ask(job, "k"))).files == ()
        kept = await run_job(context, Ask(job, "k", str(tmp_path)))
        assert [path.is_file() for path in kept.files] == [True]
        kept.files[0].unlink()
        again = await run_job(context, Ask(job, "k", str(tmp_path)))
        assert again.files == kept.files
        assert again.files[0].is_file()
        requests = len(asked(api))
        assert await run_job(context, Ask(job, "k", str(tmp_path))) == again
    assert len(asked(api)) == requests
    assert len(api.predictions) == 1


async def test_a_failed_prediction_without_its_outputs_is_reported_as_failed(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    gone = OutputFile(content=b"x", name="a.png", expires=0.0, gone=404)
    api.next(Script(end="failed", error="boom", output=[gone], partial=True, output_at=0.0))
    async with connect(api) as context:
        result = await run_job(context, Ask(Job("stability-ai/sdxl", {"prompt": "x"}), "k", str(tmp_path)))
    assert (result.status, result.error, result.files) == ("failed", "boom", ())


async def test_files_are_found_by_the_schema_of_the_version_that_ran(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    job = Job("stability-ai/sdxl", {"prompt": "x"}, wait_for_completion=False)
    async with connect(api) as context:
        await run_job(context, Ask(job, "k", str(tmp_path / "out")))
        model = api.models["stability-ai/sdxl"]
        api.models["stability-ai/sdxl"] = msgspec.structs.replace(model, versions=("f" * 64, *model.version_ids))
        waiting = msgspec.structs.replace(job, wait_for_completion=True)
        result = await run_job(context, Ask(waiting, "k", str(tmp_path / "out")))
    assert [path.is_file() for path in result.files] == [True]


async def test_a_live_process_renews_its_claim(tmp_path: Path) -> None:
    job, path = Job("a/b"), tmp_path / "journal.db"
    async with SQLiteJournal(path, lease=0.3) as own, SQLiteJournal(path, lease=0.3) as other, asyncio.timeout(10):

        async def held_until() -> float:
            with pytest.raises(JobHeldError) as caught:
                await other.claim("k", "api", job, None)
            return caught.value.until

        claim = await own.claim("k", "api", job, None)
        context = cast("Context", SimpleNamespace(journal=own, clock=SystemClock()))
        async with held(context, claim):
            first = await held_until()
            while await held_until() <= first:  # noqa: ASYNC110 - SQLite tells nobody of a renewal
                await asyncio.sleep(0.01)
