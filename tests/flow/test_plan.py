"""A job with further attempts: the failures that lead to one, its model, and its payment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import msgspec
import pytest
from tests.asked import asked

from replicate_job.errors import InputError, JobError, UncertainError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.plan import fallback_job, make_plan, run_plan
from replicate_job.flow.run import run_job
from replicate_job.job import Fallback, Job, Result
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

Connect = Callable[..., AbstractAsyncContextManager[Context]]
FILE = openapi_schema({"n": {"type": "integer"}}, {"type": "string", "format": "uri"})
TEXT = openapi_schema({"count": {"type": "integer"}, "style": {"type": "string"}}, {"type": "string"})
JOB = Job("acme/first", {"n": 1})
BOTH = msgspec.structs.replace(JOB, fallback=(Fallback("acme/second", {"n": "count"}, {"style": "plain"}),))
INTERRUPTED = Script(end="failed", error="Prediction interrupted; please retry (code: PA)", duration=0, boot=0)
BROKEN = Script(end="failed", error="no attribute 'shape'", duration=0, boot=0)
REFUSED = Script(end="failed", error="The input was flagged as sensitive. (E005)", duration=0, boot=0)
NOTHING = Script(output=None, duration=0, boot=0)
WORDS = Script(output="words", duration=0, boot=0)
PICTURE = Script(output=OutputFile(content=b"\x89PNG\r\n", name="a.png"), duration=0, boot=0)


@pytest.fixture(autouse=True)
def _models(api: ScriptedAPI) -> None:
    for name, schema in {"acme/first": FILE, "acme/second": TEXT}.items():
        api.models[name] = ScriptedModel(name=name, official=True, schema=schema)


async def run(context: Context, job: Job = JOB, key: str = "job", *, is_new: bool = False, **options: Any) -> Result:
    plan = make_plan(job, **options)
    return await run_plan(context, Ask(job, key, is_new=is_new), plan, partial(run_job, context))


def statuses(result: Result) -> list[str]:
    return [each.status for each in (*result.earlier, result)]


@pytest.mark.parametrize(
    ("scripts", "options", "made"),
    [
        ([INTERRUPTED, PICTURE], {"retries": 2}, ["failed", "succeeded"]),
        ([INTERRUPTED, BROKEN, PICTURE], {"retries": 2}, ["failed", "failed", "succeeded"]),
        ([BROKEN, BROKEN, BROKEN], {"retries": 2}, ["failed", "failed", "failed"]),
        ([NOTHING, PICTURE], {"retries": 1}, ["succeeded", "succeeded"]),
        ([NOTHING], {"retries": 1, "retry_on": "failed,interrupted"}, ["succeeded"]),
        ([BROKEN], {"retries": 3, "retry_on": ["interrupted"]}, ["failed"]),
        ([INTERRUPTED, BROKEN], {"retries": 3, "retry_on": ["interrupted"]}, ["failed", "failed"]),
        ([REFUSED], {"retries": 3}, ["failed"]),
        ([PICTURE], {"retries": 3}, ["succeeded"]),
    ],
    ids=["interrupted", "twice", "exhausted", "empty", "not empty", "not failed", "then failed", "refused", "good"],
)
async def test_each_kind_of_failure_gets_its_own_number_of_attempts(  # noqa: PLR0913, PLR0917 - fixtures
    api: ScriptedAPI, connect: Connect, fast: Any, scripts: list[Script], options: dict[str, Any], made: list[str]
) -> None:
    api.next(*scripts)
    async with connect(api, clock=fast) as context:
        result = await run(context, **options)
        keys = [each.key for each in (*result.earlier, result)]
        entries = await context.journal.look_up(keys)
    assert statuses(result) == made
    assert keys == ["job", "job~2", "job~3"][: len(made)]
    assert [entries[key].prediction_id for key in keys] == [prediction.id for prediction in api.predictions]


async def test_pauses_between_attempts_grow_and_a_fallback_starts_without_one(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(INTERRUPTED, INTERRUPTED, INTERRUPTED, WORDS)
    async with connect(api, clock=fast) as context:
        result = await run(context, BOTH, retries=2, is_new=True)
    pauses = [seconds for seconds in fast.slept if seconds > 1.4]
    assert result.output == "words"
    assert [1.5 <= pauses[0] <= 2, 3 <= pauses[1] <= 4, len(pauses)] == [True, True, 2]


async def test_after_the_last_failure_the_fallback_runs_with_its_own_input_names(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(BROKEN, BROKEN, WORDS)
    async with connect(api, clock=fast) as context:
        result = await run(context, BOTH, retries=1)
    assert (result.model, result.input, result.output) == ("acme/second", {"count": 1, "style": "plain"}, "words")
    assert [each.model for each in result.earlier] == ["acme/first", "acme/first"]


async def test_refused_content_is_not_tried_with_a_fallback(api: ScriptedAPI, connect: Connect, fast: Any) -> None:
    api.next(REFUSED, WORDS)
    async with connect(api, clock=fast) as context:
        result = await run(context, BOTH, retries=1)
    assert statuses(result) == ["failed"]
    assert len(api.predictions) == 1


async def test_a_fallback_that_does_not_accept_the_input_raises_an_error_before_the_first_attempt(
    api: ScriptedAPI, connect: Connect
) -> None:
    job = msgspec.structs.replace(JOB, fallback=(Fallback("acme/second"),))
    async with connect(api) as context:
        with pytest.raises(InputError, match="acme/second: n"):
            await run(context, job)
        assert await context.journal.get("job") is None
    assert api.predictions == []


async def test_the_same_key_continues_with_the_next_attempt_and_pays_for_no_attempt_twice(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(INTERRUPTED, INTERRUPTED, PICTURE)
    async with connect(api, clock=fast) as context:
        await run_job(context, Ask(JOB, "job"))  # a process that was ended in the pause before the next attempt
        await run(context, retries=1)
        result = await run(context, retries=2)
        before = len(asked(api))
        again = await run(context, BOTH, retries=2)
    assert statuses(result) == ["failed", "failed", "succeeded"]
    assert again == result
    assert (len(api.predictions), len(asked(api))) == (3, before)


async def test_attempts_of_an_earlier_call_with_other_options_are_found(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(INTERRUPTED, BROKEN, PICTURE)
    async with connect(api, clock=fast) as context:
        first = await run(context, BOTH)
        result = await run(context, BOTH, retries=1)
    assert [first.model, first.status] == ["acme/second", "failed"]
    assert len(api.predictions) == 3
    assert [each.model for each in (*result.earlier, result)] == ["acme/first", "acme/second", "acme/second"]


async def test_after_an_unknown_outcome_there_is_no_further_attempt(connect: Connect) -> None:
    with ScriptedAPI(faults="list:503=1") as api:
        api.models["acme/first"] = ScriptedModel(name="acme/first", official=True, schema=FILE)
        api.faults.next("create", "drop-after")
        async with connect(api, settle=0, listing=0.2) as context:
            with pytest.raises(UncertainError):
                await run(context, retries=3)
            assert await context.journal.get("job~2") is None
        assert api.count("create") == 1


async def test_an_attempt_whose_pause_exceeds_the_timeout_is_not_made(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(*[INTERRUPTED] * 40)
    async with connect(api, clock=fast) as context:
        ask = Ask(JOB, "job", timeout=120.0)
        result = await run_plan(context, ask, make_plan(JOB, retries=40), partial(run_job, context))
    assert result.status == "failed"
    assert 1 <= len(result.earlier) <= 8


@pytest.mark.parametrize(
    ("job", "options", "message"),
    [
        (JOB, {"retry_on": "nsfw"}, "'nsfw' is none of failed, interrupted, empty"),
        (JOB, {"retry_on": ()}, "name one or more"),
        (msgspec.structs.replace(JOB, wait_for_completion=False), {"retries": 1}, "wait for it"),
        (msgspec.structs.replace(JOB, destination="acme/x"), {"retries": 1}, "a training has no retries"),
        (msgspec.structs.replace(JOB, fallback=(Fallback("what"),)), {}, "what"),
    ],
)
def test_an_impossible_plan_of_attempts_raises_a_job_error(job: Job, options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        make_plan(job, **options)


def test_a_fallbacks_map_renames_removes_and_adds_inputs() -> None:
    job = Job("a/b", {"prompt": "x", "seed": 1, "n": 2})
    made = fallback_job(job, Fallback("c/d", {"prompt": "text", "seed": False}, {"steps": 4}))
    assert (made.model, made.input_data) == ("c/d", {"text": "x", "n": 2, "steps": 4})
    with pytest.raises(JobError, match="two inputs would be its 'n'"):
        fallback_job(job, Fallback("c/d", {"prompt": "n"}))
