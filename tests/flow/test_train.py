"""A training is a job too: it is created once, whatever happens to the request and to the process."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest
from tests.asked import asked

from replicate_job.errors import InputError, JobError, KeyInUseError, ModelNotFoundError, UncertainError
from replicate_job.flow import by_name
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema

Connect = Callable[..., AbstractAsyncContextManager[Context]]
TRAINER = "acme/trainer"
JOB = Job(TRAINER, {"input_images": "https://example.com/a.zip", "steps": 10}, destination="acme/fox")
FINISHED = Script(duration=0.05)


@pytest.fixture(autouse=True)
def trainer(api: ScriptedAPI) -> None:
    schema = openapi_schema(
        {"prompt": {"type": "string"}}, {"type": "array", "items": {"type": "string", "format": "uri"}}
    )
    own = openapi_schema(
        {"input_images": {"type": "string", "format": "uri"}, "steps": {"type": "integer", "maximum": 100}},
        required=["input_images"],
    )["components"]["schemas"]
    schema["components"]["schemas"] |= {"TrainingInput": own["Input"], "TrainingOutput": {"type": "object"}}
    api.models[TRAINER] = ScriptedModel(name=TRAINER, schema=schema)


async def train(connect: Connect, api: ScriptedAPI, job: Job = JOB, key: str = "fox-1", **settings: float) -> str:
    async with connect(api, **settings) as context:
        return (await run_job(context, Ask(job, key=key))).prediction_id


async def test_a_training_is_created_waited_for_and_journaled(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    api.next(FINISHED)
    async with connect(api) as context:
        result = await run_job(context, Ask(JOB, key="fox-1", save=str(tmp_path / "out")))
        (made,) = api.trainings.values()
        assert (result.prediction_id, result.status, result.output) == (made.id, "succeeded", made.output)
        assert (made.input, made.destination, made.model) == (JOB.input_data, "acme/fox", TRAINER)
        requests = len(asked(api))
        assert await run_job(context, Ask(JOB, key="fox-1")) == result
        assert len(asked(api)) == requests
        assert (await by_name.observe(context, "fox-1")).output == made.output
    assert api.count("create") == 1
    assert not (tmp_path / "out").exists()
    (create,) = [request for request in api.requests if request.operation == "create"]
    assert create.path == f"/v1/models/{TRAINER}/versions/{api.models[TRAINER].version_ids[0]}/trainings"
    assert "prefer" not in create.headers
    assert {request.path for request in api.requests if request.operation == "get"} == {f"/v1/trainings/{made.id}"}


@pytest.mark.parametrize("fault", ["drop-after", "503-after", "half-after"])
async def test_a_training_whose_answer_was_lost_is_found_in_the_list(
    api: ScriptedAPI, connect: Connect, fault: str
) -> None:
    api.next(FINISHED)
    api.faults.next("create", fault)
    made = await train(connect, api)
    assert list(api.trainings) == [made]
    assert (api.count("create"), api.count("list") > 0) == (1, True)


async def test_a_training_that_was_certainly_not_created_is_sent_again(api: ScriptedAPI, connect: Connect) -> None:
    api.next(FINISHED)
    api.faults.next("create", "drop-before")
    await train(connect, api)
    assert (len(api.trainings), api.count("create")) == (1, 2)


async def test_a_training_is_not_adopted_for_another_destination(api: ScriptedAPI, connect: Connect) -> None:
    wolf = msgspec.structs.replace(JOB, destination="acme/wolf")
    async with connect(api) as context:
        hasty = msgspec.structs.replace(context.retry_policy, listing=0.1)
        api.faults.next("create", "drop-after")
        api.faults.next("list", *["401"])
        with pytest.raises(UncertainError):
            await run_job(msgspec.structs.replace(context, retry_policy=hasty), Ask(JOB, key="fox"))
        # The listed training is the fox's. The list shows the same fields for the wolf's.
        api.faults.next("create", "503")
        with pytest.raises(UncertainError):
            await run_job(context, Ask(wolf, key="wolf"))
        assert [entry.prediction_id for entry in await context.journal.entries()] == [None, None]
    assert [made.destination for made in api.trainings.values()] == ["acme/fox"]


async def test_a_user_can_name_the_training_of_an_uncertain_job(api: ScriptedAPI, connect: Connect) -> None:
    api.next(FINISHED)
    async with connect(api) as context:
        api.faults.next("create", "drop-after")
        api.faults.next("list", "401")
        with pytest.raises(UncertainError):
            await run_job(context, Ask(JOB, key="fox-1"))
        (made,) = api.trainings.values()
        entry = await by_name.find_or_adopt(context, made.id, key="fox-1", save=None)
        result = await run_job(context, Ask(entry.job, key=entry.key))
    assert (result.prediction_id, result.output, result.key) == (made.id, made.output, "fox-1")
    assert api.count("create") == 1


async def test_another_process_can_wait_for_a_training_and_cancel_it(api: ScriptedAPI, connect: Connect) -> None:
    api.next(Script(boot=0, duration=math.inf))
    made = await train(connect, api, msgspec.structs.replace(JOB, wait_for_completion=False))
    async with connect(api) as context:
        assert (await by_name.observe(context, made)).status == "processing"
        canceled = await by_name.cancel(context, "fox-1")
        assert canceled
        assert canceled.status == api.trainings[made].status == "canceled"
        assert (await run_job(context, Ask(JOB, key="fox-1"))).status == "canceled"
    assert {request.path for request in api.requests if request.operation == "cancel"} == {
        f"/v1/trainings/{made}/cancel"
    }


async def test_an_impossible_training_raises_an_error_before_anything_is_created(
    api: ScriptedAPI, connect: Connect
) -> None:
    cases: list[tuple[Job, type[Exception], str]] = [
        (msgspec.structs.replace(JOB, input_data={"steps": 1000}), InputError, "steps"),
        (msgspec.structs.replace(JOB, destination="fox"), JobError, "destination|names no model"),
        (msgspec.structs.replace(JOB, destination="acme/fox:latest2"), JobError, "names no model"),
        (msgspec.structs.replace(JOB, model="deployments/acme/flux"), JobError, "cannot be trained"),
        (msgspec.structs.replace(JOB, model="acme/private"), JobError, "shows no version to train"),
        (msgspec.structs.replace(JOB, model="acme/nothing"), ModelNotFoundError, "acme/nothing"),
        (msgspec.structs.replace(JOB, cancel_after="5m"), JobError, "cancel_after"),
    ]
    for job, kind, told in cases:
        with pytest.raises(kind, match=told):
            await train(connect, api, job)
    assert api.count("create") == 0


async def test_the_same_key_with_another_destination_is_refused(api: ScriptedAPI, connect: Connect) -> None:
    api.next(FINISHED)
    await train(connect, api)
    with pytest.raises(KeyInUseError):
        await train(connect, api, msgspec.structs.replace(JOB, destination="acme/wolf"))
    with pytest.raises(KeyInUseError):
        await train(connect, api, msgspec.structs.replace(JOB, destination=""))
    assert api.count("create") == 1
