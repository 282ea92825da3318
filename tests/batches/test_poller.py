"""Waiting for many predictions: a page of the list has a hundred, and one that it lacks is polled by itself."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest

from replicate_job.batches.poller import Poller
from replicate_job.errors import AuthenticationError, NotFoundError
from replicate_job.flow.context import Context, Reporter
from replicate_job.telemetry import COUNTS
from replicate_job.testing import Script, ScriptedAPI
from replicate_job.testing.predictions import ScriptedPrediction
from replicate_job.wire.prediction import Prediction

Connect = Callable[..., AbstractAsyncContextManager[Context]]
SHORT = Script(duration=2.5, output="done")


async def create(context: Context, count: int, *, together: int = 32) -> list[Prediction]:
    gate = asyncio.Semaphore(together)

    async def one(number: int) -> Prediction:
        async with gate:
            slot = await context.client.take_slot()
            body = b'{"input":{"n":%d}}' % number
            return await context.client.create_prediction("/models/acme/private/predictions", body, slot)

    return await asyncio.gather(*map(one, range(count)))


@asynccontextmanager
async def watching(context: Context) -> Any:
    rounds = Poller(context)
    yield rounds
    await rounds.close()


async def wait_all(rounds: Poller, predictions: Sequence[Prediction], *, age: float = 0) -> list[Prediction]:
    return await asyncio.gather(*(rounds.wait(each.id, each, age=age) for each in predictions))


def by_id(api: ScriptedAPI) -> dict[str, ScriptedPrediction]:
    return {prediction.id: prediction for prediction in api.predictions}


@pytest.fixture
def timed(fast: Any) -> Any:
    """A clock at normal speed that records the waits."""
    fast.speed = 1
    return fast


def after_the_end(api: ScriptedAPI) -> int:
    """The number of requests until every prediction was known to have ended."""
    end = max(prediction.ended for prediction in api.predictions)
    return sum(request.time > end for request in api.requests)


@pytest.mark.long
async def test_five_hundred_predictions_are_polled_by_a_few_pages(connect: Connect, timed: Any) -> None:
    with ScriptedAPI(script=SHORT) as api:
        async with connect(api, clock=timed) as context, watching(context) as rounds:
            made = await create(context, 500)
            ends = await wait_all(rounds, made)
        assert [end.id for end in ends] == [each.id for each in made]
        assert {(end.status, end.output) for end in ends} == {("succeeded", "done")}
        assert after_the_end(api) <= 2 * 8
        assert max(timed.slept) <= 1
    # Six pages a second, or a few more where many were made at once, for the three seconds or so that they take.
    assert api.count("list") <= 8 * 5
    assert api.count("get") <= 15


@pytest.mark.long
async def test_predictions_created_at_the_same_moment_are_polled_by_one_page(connect: Connect) -> None:
    """A span that ends between predictions of one moment has more than a page, so a round costs one more request."""
    with ScriptedAPI(script=Script(duration=math.inf, output="done")) as api:
        async with connect(api) as context, watching(context) as rounds:
            await create(context, 300)
            first = api.predictions[0].created
            for number, prediction in enumerate(api.predictions):  # five bursts
                prediction.created = first + number // 60 + number % 60 * 1e-5
            made = [msgspec.json.decode(prediction.encode(), type=Prediction) for prediction in api.predictions]
            waiting = asyncio.gather(*(rounds.wait(each.id, each, age=0) for each in made))
            await asyncio.to_thread(api.wait_until, lambda: api.count("list") >= 10)
            for prediction in api.predictions:
                prediction.finish()
            assert len(await waiting) == 300
    assert len({request.query for request in api.requests if request.operation == "list"}) == 5
    assert api.count("get") == 0


@pytest.mark.long
async def test_predictions_of_other_programs_cost_further_pages_but_delay_no_end(connect: Connect) -> None:
    with ScriptedAPI(script=SHORT) as api:
        async with connect(api) as ours, connect(api, journal="other.db") as others, watching(ours) as rounds:
            made, _ = await asyncio.gather(create(ours, 150, together=4), create(others, 400, together=12))
            ends = await wait_all(rounds, made)
    assert {end.status for end in ends} == {"succeeded"}
    assert api.created == 550
    assert api.count("get") <= 15
    assert api.count("list") <= 8 * 6


async def test_one_or_two_predictions_are_polled_one_by_one(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0.5)) as api:
        async with connect(api) as context, watching(context) as rounds:
            await wait_all(rounds, await create(context, 2))
    assert api.count("list") == 0
    assert api.count("get") <= 4


@pytest.mark.long
async def test_a_prediction_whose_creation_time_is_unknown_is_polled_by_itself_once_and_then_listed(
    connect: Connect,
) -> None:
    with ScriptedAPI(script=SHORT) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 50)
            ends = await asyncio.gather(*(rounds.wait(each.id, None, age=0) for each in made))
    assert {end.status for end in ends} == {"succeeded"}
    assert 50 <= api.count("get") <= 56
    assert api.count("list") <= 6


async def test_an_ended_prediction_costs_no_request(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context, watching(context) as rounds:
        end = Prediction("p", "succeeded")
        assert await rounds.wait("p", end, age=0) is end
    assert api.requests == []


@pytest.mark.long
async def test_a_prediction_that_the_list_never_shows_is_polled_by_itself(connect: Connect, timed: Any) -> None:
    with ScriptedAPI(script=Script(duration=5, output="done")) as api:
        async with connect(api, clock=timed) as context, watching(context) as rounds:
            made = await create(context, 40)
            for number in (0, 17, 39):
                by_id(api)[made[number].id].listed = float("inf")
            ends = await wait_all(rounds, made)
    assert {end.status for end in ends} == {"succeeded"}
    assert after_the_end(api) <= 8  # two rounds or three
    assert max(timed.slept) <= 1
    assert api.count("get") < 30


@pytest.mark.long
async def test_a_list_that_lags_delays_the_ends_of_predictions_but_loses_none(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=1, output="done"), list_lag=(0, 3)) as api:
        async with connect(api) as context, watching(context) as rounds:
            ends = await wait_all(rounds, await create(context, 120))
    assert {end.status for end in ends} == {"succeeded"}


@pytest.mark.long
async def test_after_a_late_list_has_caught_up_no_prediction_is_polled_by_itself(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=7, output="done"), list_lag=3.5) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 80)
            await wait_all(rounds, made)
    # Each is asked for a time or two while the list does not show it, and not every second to the end.
    assert api.count("get") <= 2 * 80


@pytest.mark.long
async def test_a_prediction_that_the_api_does_not_know_at_first_is_waited_for(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=1), missing_for=1.5, list_lag=1.5) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 2)
            ends = await wait_all(rounds, made)
    assert {end.status for end in ends} == {"succeeded"}


@pytest.mark.long
async def test_a_404_for_one_prediction_fails_only_its_own_row(connect: Connect) -> None:
    with ScriptedAPI(script=SHORT) as api:
        async with connect(api, appear=0) as context, watching(context) as rounds:
            made = await create(context, 10)
            never = rounds.wait("gone", None, age=60)
            *ends, failure = await asyncio.gather(
                *(rounds.wait(each.id, each, age=0) for each in made), never, return_exceptions=True
            )
    assert isinstance(failure, NotFoundError)
    assert [end.status for end in ends if isinstance(end, Prediction)] == ["succeeded"] * 10


@pytest.mark.long
async def test_a_failed_list_request_is_retried(connect: Connect, heard: Any) -> None:
    with ScriptedAPI(script=Script(duration=0.5)) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 30)
            api.faults.next("list", "503", "nonsense")
            ends = await wait_all(rounds, made)
    assert {end.status for end in ends} == {"succeeded"}
    assert sum("asking again" in line for line in heard.notes) == 2
    assert api.count("list") <= 4


async def test_a_401_fails_every_waiting_row(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=30)) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 120)
            api.faults.next("list", *["401"] * 50)
            api.faults.next("get", *["401"] * 50)
            unknown = rounds.wait("someone", None, age=0)
            async with asyncio.timeout(10):
                outcomes = await asyncio.gather(
                    *(rounds.wait(each.id, each, age=0) for each in made), unknown, return_exceptions=True
                )
    assert {type(outcome) for outcome in outcomes} == {AuthenticationError}


@pytest.mark.long
@pytest.mark.parametrize("apart", [0.0, 0.001], ids=["the same moment", "a millisecond later"])
async def test_many_other_predictions_created_at_the_same_moment_hide_none_of_the_batch(
    connect: Connect, apart: float
) -> None:
    with ScriptedAPI(script=Script(duration=3, output="done")) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 10, together=1)
            await create(context, 250)
            moment = by_id(api)[made[0].id].created
            for number, prediction in enumerate(api.predictions):
                prediction.created = moment + (apart if number >= 10 else 0)
            made = [await context.client.get_prediction(each.id) for each in made]
            async with asyncio.timeout(20):
                ends = await wait_all(rounds, made)
    assert {end.status for end in ends} == {"succeeded"}
    assert api.count("list") < 30


@pytest.mark.long
async def test_a_server_that_ignores_the_time_filters_is_not_polled_endlessly(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=2, output="done")) as api:
        account = api._account  # noqa: SLF001 - made to do as servers do that only resemble the API
        page = account.page
        account.page = lambda after, before, cursor: page(None, None, cursor)  # type: ignore[method-assign]  # noqa: ARG005 - they are ignored
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 20, together=1)
            await create(context, 250)
            async with asyncio.timeout(20):
                ends = await wait_all(rounds, made)
    assert {end.status for end in ends} == {"succeeded"}
    assert api.count("list") < 30


@pytest.mark.long
async def test_the_polls_of_a_batch_stay_within_their_share_of_the_rate_limit(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=3, output="done"), list_lag=60) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 150)
            began = time.time()
            await wait_all(rounds, made)
            took = time.time() - began
    # 50 a second are allowed, of which the rounds take 80 %; one round may be under way.
    assert api.count("get") + api.count("list") <= 0.8 * 50 * took + 150


@pytest.mark.long
async def test_a_prediction_whose_waiter_was_canceled_is_no_longer_polled(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=30)) as api:
        async with connect(api) as context, watching(context) as rounds:
            made = await create(context, 30)
            task = asyncio.create_task(wait_all(rounds, made))
            await asyncio.to_thread(api.wait_until, lambda: api.count("list") >= 1)
            task.cancel()
            await asyncio.wait([task])
            asked = api.count("list")
            await asyncio.sleep(1.5)
            assert api.count("list") == asked
            assert api.count("get") == 0


@pytest.mark.parametrize(("word", "count"), [("note", 20), ("observed", 2)], ids=["in the list", "singly"])
async def test_any_exception_in_a_round_of_polls_reaches_all_waiting_rows(
    connect: Connect, breaking: Callable[[str], Reporter], word: str, count: int
) -> None:
    with ScriptedAPI(script=Script(duration=30)) as api:
        async with connect(api) as context:
            made = await create(context, count)
            api.faults.next("list", "503")
            broken = msgspec.structs.replace(context, reporter=breaking(word))
            async with watching(broken) as rounds, asyncio.timeout(10):
                waiting = (rounds.wait(each.id, each, age=0) for each in made)
                outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ZeroDivisionError}


@pytest.mark.long
async def test_logs_that_a_poll_returned_before_the_api_removed_them_are_kept(connect: Connect) -> None:
    lines = "".join(f"step {number}\n" for number in range(1, 31))
    with ScriptedAPI(script=Script(duration=2.5, boot=0, end="failed", logs=lines), expire=0) as api:
        async with connect(api) as context, watching(context) as rounds:
            ends = await wait_all(rounds, await create(context, 5))
    assert all(end.logs and lines.startswith(end.logs) for end in ends)


@pytest.mark.long
async def test_the_reported_lag_of_polling_grows_when_rounds_of_polls_fail(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=60)) as api:
        async with connect(api) as context, watching(context) as rounds:
            assert COUNTS.lag is None
            waiting = asyncio.create_task(wait_all(rounds, await create(context, 3)))
            await asyncio.to_thread(api.wait_until, lambda: api.count("list"))
            api.faults.next("list", "503")
            before = COUNTS.lag
            await asyncio.to_thread(api.wait_until, lambda: api.count("list") > 1)
            after = COUNTS.lag
            assert before is not None
            assert after is not None
            assert after > before
            for prediction in api.predictions:
                prediction.finish()
            await waiting
        assert COUNTS.lag is None
