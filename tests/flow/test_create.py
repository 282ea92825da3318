"""Create requests: the consequence of each kind of answer, and of a missing one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from replicate_job.errors import (
    APIError,
    AuthenticationError,
    InvalidRequestError,
    JobError,
    ModelNotFoundError,
    NotSentError,
    PaymentRequiredError,
    RateLimitError,
    ReplicateJobError,
    UncertainError,
)
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.prepare import write_request
from replicate_job.flow.run import run_job
from replicate_job.job import Job, Result
from replicate_job.serving.answer import InvalidField, invalid
from replicate_job.testing import Answer, Fault, Script, ScriptedAPI
from replicate_job.wire.target import parse_target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private", {"n": 1}, poll_interval=0.05, max_poll_attempts=400)


@pytest.fixture
def connect(connect_known: Connect) -> Connect:
    return connect_known


async def state_of(context: Context, key: str) -> str:
    entry = await context.journal.get(key)
    assert entry
    return entry.state


async def refuse(api: ScriptedAPI, connect: Connect, kind: type[ReplicateJobError], **options: Any) -> str:
    """Run a job that must fail with ``kind`` and create nothing. Returns the error's message, which is one line."""
    async with connect(api, **options) as context:
        with pytest.raises(kind) as caught:
            await run_job(context, Ask(JOB, key="job"))
        assert await state_of(context, "job") == "refused"
    assert api.predictions == []
    line = str(caught.value)
    assert "\n" not in line
    assert api.token not in line
    return line


@pytest.mark.parametrize("throttled", ["429(body=3)", "429(header=3)", "429(date=3)", "429(detail=3)"])
async def test_after_a_429_the_create_request_waits_as_long_as_the_api_asks(
    api: ScriptedAPI, connect: Connect, fast: Any, throttled: str
) -> None:
    api.faults.next("create", throttled)
    async with connect(api, clock=fast) as context:
        await run_job(context, Ask(JOB))
    assert api.count("create") == 2
    assert len(api.predictions) == 1
    # The Date header has whole seconds, and its response may have been delayed.
    assert 1 < max(seconds for seconds in fast.slept if seconds != context.journal.lease / 3) <= 3.1


@pytest.mark.parametrize(
    "throttled", ["429()", "429(header=soon)", "429(body=-5)", "429(body=never)", "429(header=nan)", "429(date=-900)"]
)
async def test_after_a_429_without_a_retry_time_the_create_request_is_sent_again_soon(
    api: ScriptedAPI, connect: Connect, fast: Any, throttled: str
) -> None:
    api.faults.next("create", throttled)
    async with connect(api, clock=fast) as context:
        await run_job(context, Ask(JOB))
    assert api.count("create") == 2
    assert len(api.predictions) == 1
    assert max(seconds for seconds in fast.slept if seconds != context.journal.lease / 3) <= 1


@pytest.mark.parametrize("throttled", ["429(body=1000000)", "429(header=86400)", "429(date=86400)", "429(detail=9999)"])
async def test_an_absurdly_long_retry_time_raises_an_error_at_once(
    api: ScriptedAPI, connect: Connect, fast: Any, throttled: str
) -> None:
    api.faults.next("create", throttled)
    line = await refuse(api, connect, RateLimitError, clock=fast)
    assert "nothing was created" in line
    assert "120 s in all is the limit" in line
    assert max(fast.slept, default=0) <= 5
    assert api.count("create") == 1


@pytest.mark.long
async def test_the_total_wait_after_several_429s_is_limited(api: ScriptedAPI, connect: Connect, fast: Any) -> None:
    api.faults.next("create", *["429(body=50)"] * 5)
    await refuse(api, connect, RateLimitError, clock=fast)
    assert api.count("create") == 3


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("402", PaymentRequiredError, "Insufficient credit"),
        ("401", AuthenticationError, "REPLICATE_API_TOKEN"),
        ("403", AuthenticationError, "403"),
        ("404", ModelNotFoundError, "acme/private was not found"),
        ("413", InvalidRequestError, "413"),
    ],
)
async def test_a_refused_create_request_raises_a_one_line_error_and_is_not_sent_again(
    api: ScriptedAPI, connect: Connect, fault: str, kind: type[ReplicateJobError], words: str
) -> None:
    api.faults.next("create", fault)
    assert words in await refuse(api, connect, kind)
    assert api.count("create") == 1


async def test_an_input_error_of_the_api_keeps_every_field(api: ScriptedAPI, connect: Connect) -> None:
    api.faults.next("create", Fault.answering(invalid(InvalidField("string_lte", "input.prompt", "is too long"))))
    async with connect(api) as context:
        with pytest.raises(InvalidRequestError, match=r"input\.prompt: is too long") as caught:
            await run_job(context, Ask(JOB))
    assert caught.value.invalid_fields[0]["type"] == "string_lte"


class OpensWhileItSleeps:
    """A clock: the network is restored during the ``count``-th sleep."""

    def __init__(self, relay: Any, fast: Any, count: int) -> None:
        self._relay, self._fast, self._left = relay, fast, count
        self.time, self.now, self.boot = fast.time, fast.now, fast.boot

    async def sleep(self, seconds: float) -> None:
        self._left -= 1
        if self._left == 0:
            await self._relay.open()
        await self._fast.sleep(seconds)


async def test_a_failed_connection_is_tried_again(api: ScriptedAPI, connect: Connect, relay: Any, fast: Any) -> None:
    clock = OpensWhileItSleeps(relay, fast, 4)
    async with connect(api, base_url=relay.url, clock=clock) as context:
        result = await run_job(context, Ask(JOB))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]
    assert (api.count("create"), api.count("list")) == (1, 0)


async def test_without_any_connection_the_error_says_that_nothing_was_created(
    api: ScriptedAPI, connect: Connect, relay: Any, fast: Any
) -> None:
    line = await refuse(api, connect, NotSentError, base_url=relay.url, clock=fast, connects=3)
    assert "tried 3 times, nothing was created" in line


async def test_429s_do_not_count_as_failed_attempts_to_connect(api: ScriptedAPI, connect: Connect, fast: Any) -> None:
    """Four 429s, then the network fails for one request: the request is tried again."""
    api.faults.next("create", *["429(body=1)"] * 4)

    class Breaks:
        def __init__(self, client: Any) -> None:
            self._client, self._count = client, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        async def create_prediction(self, *given: Any, **options: Any) -> Any:
            self._count += 1
            if self._count == 5:
                raise NotSentError("POST /predictions: no connection (refused)")
            return await self._client.create_prediction(*given, **options)

    async with connect(api, clock=fast, connects=3) as context:
        breaking: Any = Breaks(context.client)
        await run_job(msgspec.structs.replace(context, client=breaking), Ask(JOB))
    assert len(api.predictions) == 1


STATUSES = ["500", "502", "408", "409", "418", "425", "499"]
REDIRECT = "redirect-{}(http://127.0.0.1:9/)"
LOST = ["drop", "close", "html", "empty", "nonsense", *STATUSES]


@pytest.mark.parametrize("fault", [*(f"{name}-after" for name in LOST), REDIRECT.format("after"), "truncate", "half"])
async def test_a_prediction_whose_answer_was_lost_is_found(
    api: ScriptedAPI, connect: Connect, heard: Any, fault: str
) -> None:
    api.faults.next("create", fault)
    async with connect(api) as context:
        result = await run_job(context, Ask(JOB))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]
    assert result.status == "succeeded"
    assert api.count("create") == 1
    assert "looking whether the prediction was created" in heard.warnings[0]


@pytest.mark.long
@pytest.mark.parametrize("fault", [*(f"{name}-before" for name in LOST), REDIRECT.format("before")])
async def test_a_lost_create_request_that_created_nothing_is_sent_again(
    api: ScriptedAPI, connect: Connect, fault: str
) -> None:
    api.faults.next("create", fault)
    async with connect(api) as context:
        result = await run_job(context, Ask(JOB))
    assert [prediction.id for prediction in api.predictions] == [result.prediction_id]
    assert api.count("create") == 2


async def test_a_job_with_an_unknown_outcome_is_uncertain_and_not_sent_again(connect: Connect) -> None:
    with ScriptedAPI(faults="list:503=1") as api:
        api.faults.next("create", "drop-after")
        async with connect(api, settle=0, listing=0.2) as context:
            ask = Ask(JOB, key="job")
            with pytest.raises(UncertainError, match="nothing is sent again by itself"):
                await run_job(context, ask)
            assert await state_of(context, "job") == "uncertain"
            with pytest.raises(UncertainError):
                await run_job(context, ask)
            assert api.count("create") == 1
            api.faults.clear()
            result = await run_job(context, ask)
        assert [prediction.id for prediction in api.predictions] == [result.prediction_id]
        assert api.count("create") == 1


async def test_an_uncertain_job_that_turns_out_not_created_is_sent_again(connect: Connect) -> None:
    with ScriptedAPI(faults="list:503=1") as api:
        api.faults.next("create", "drop-before")
        async with connect(api, settle=0, listing=0.2) as context:
            with pytest.raises(UncertainError):
                await run_job(context, Ask(JOB, key="job"))
            api.faults.clear()
            result = await run_job(context, Ask(JOB, key="job"))
        assert [prediction.id for prediction in api.predictions] == [result.prediction_id]


async def test_the_number_of_create_requests_that_create_nothing_is_limited(connect: Connect, fast: Any) -> None:
    with ScriptedAPI(faults="create:500-before=1") as api:
        line = await refuse(api, connect, APIError, clock=fast, sends=3)
        assert "sent 3 times, nothing was created" in line
        assert api.count("create") == 3


async def test_with_a_blocking_wait_one_request_returns_the_ended_prediction(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.next(Script(duration=0.3, output="x"))
    async with connect(api) as context:
        result = await run_job(context, Ask(JOB))
    assert result.status == "succeeded"
    (request,) = (each for each in api.requests if each.operation == "create")
    assert request.headers["prefer"] == "wait=20"  # the job's budget


@pytest.mark.parametrize(
    ("changes", "prefer"),
    [
        ({"poll_interval": 1, "max_poll_attempts": 1000}, "wait=60"),
        ({"poll_interval": 0.1, "max_poll_attempts": 5}, None),
        ({"wait_for_completion": False}, None),
    ],
)
async def test_the_blocking_wait_is_within_the_apis_limit_and_the_jobs_budget(
    api: ScriptedAPI, connect: Connect, changes: dict[str, Any], prefer: str | None
) -> None:
    async with connect(api) as context:
        await run_job(context, Ask(msgspec.structs.replace(JOB, **changes)))
    assert api.requests[0].headers.get("prefer") == prefer


async def test_a_create_request_carries_every_field_of_the_job(api: ScriptedAPI, connect: Connect) -> None:
    asked = {"cancel_after": "5m", "webhook": "https://example.com/x", "webhook_events_filter": ("completed",)}
    async with connect(api) as context:
        await run_job(context, Ask(msgspec.structs.replace(JOB, **asked)))
    (request,) = (each for each in api.requests if each.operation == "create")
    assert msgspec.json.decode(request.body) == {
        "input": {"n": 1},
        "webhook": "https://example.com/x",
        "webhook_events_filter": ["completed"],
    }
    assert request.headers["cancel-after"] == "5m"
    assert request.headers["authorization"] == f"Bearer {api.token}"


@pytest.mark.long
async def test_identical_jobs_at_the_same_time_each_get_their_own_prediction(connect: Connect) -> None:
    with ScriptedAPI(list_lag=0.1) as api:
        api.faults.next("create", "drop-after", "drop-before", None, "500-after", "500-before", None, "drop-after")
        async with connect(api, settle=0.4) as context:
            asks = [Ask(JOB, key=f"job-{number}") for number in range(6)]
            results = await asyncio.gather(*(run_job(context, ask) for ask in asks))
        assert sorted(result.prediction_id for result in results) == sorted(each.id for each in api.predictions)


@pytest.mark.long
async def test_a_job_that_gets_another_jobs_prediction_twice_is_uncertain(api: ScriptedAPI, connect: Connect) -> None:
    body = b'{"id":"same","status":"succeeded","created_at":"2020-01-01T00:00:00Z"}'
    always = Fault.answering(Answer(201, body))
    api.faults.next("create", always, always, always, always)
    async with connect(api) as context:
        assert (await run_job(context, Ask(JOB, "one"))).prediction_id == "same"
        with pytest.raises(UncertainError, match="a prediction of another job"):
            await run_job(context, Ask(JOB, "two"))
        assert await state_of(context, "two") == "uncertain"
    assert api.count("create") == 3


@pytest.mark.long
@pytest.mark.parametrize("is_row", [False, True])
async def test_a_job_that_waits_long_for_a_free_request_slot_is_still_sent(
    api: ScriptedAPI,
    connect: Connect,
    heard: Any,
    monkeypatch: pytest.MonkeyPatch,
    is_row: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """At most 64 requests are sent at a time, so the last jobs wait longer than the allowed age of an intent.

    The claim of a row records its intent.
    """
    monkeypatch.setattr("replicate_job.flow.create.UNSENT", 0.5)
    api.faults.next("create", *["slow(400ms)"] * 140)
    async with connect(api) as context:
        resolved = await context.strategy.resolve(context, parse_target(JOB.model))

        async def run(number: int) -> Result:
            ask = Ask(replace(JOB, input_data={"n": number}), f"job-{number}", blocking_wait=0)
            if not is_row:
                return await run_job(context, ask)
            request = write_request(ask.job, resolved, ask.job.input_data)
            return await run_job(context, ask, request, await context.client.take_slot())

        results = await asyncio.gather(*map(run, range(140)))
    assert len({result.prediction_id for result in results}) == api.created == 140
    assert not [line for line in heard.warnings if "nothing was" in line]


async def test_an_empty_key_raises_an_error(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        with pytest.raises(JobError, match="the key is empty"):
            await run_job(context, Ask(JOB, ""))
    assert api.requests == []
