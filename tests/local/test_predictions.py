from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.local.predictions import Ended, Event, Logged, Prediction, Predictions, Produced, Started, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ENDS = ("succeeded", "failed", "canceled", "aborted")
EVENTS = st.one_of(
    st.just(Started()),
    st.builds(Logged, st.text(max_size=5)),
    st.builds(Produced, st.integers(), part=st.booleans()),
    st.builds(Ended, st.sampled_from(ENDS), st.integers(), st.none() | st.text(max_size=5)),
)


def prediction() -> Prediction:
    return Prediction(id=new_id(), number=0, model="me/model", version="v", input={}, at=100.0)


async def nothing(_: str, canceled: asyncio.Event) -> AsyncGenerator[Event]:
    """A model that runs until nobody wants its result."""
    await canceled.wait()
    yield Ended("succeeded", "too late")


async def echo(id: str, _: asyncio.Event) -> AsyncGenerator[Event]:  # noqa: A002 - as the model's own parameter
    yield Started()
    yield Logged("hello\n")
    yield Produced(id)
    yield Ended("succeeded", id)


def create(predictions: Predictions, work: Any = nothing, **options: Any) -> Prediction:
    return predictions.create(work, model="me/model", version="v", input={}, **options)


@given(st.lists(EVENTS, max_size=30))
def test_an_end_is_never_left_and_nothing_changes_after_it(events: list[Event]) -> None:
    one = prediction()
    at_end: dict[str, Any] | None = None
    for number, event in enumerate(events):
        taken = one.apply(event, 101.0 + number)
        shown = {name: value for name, value in vars(one).items() if name != "changed"}
        if at_end is not None:
            assert not taken
            assert shown == at_end
        elif one.is_terminal:
            at_end = {**shown, "events": list(one.events), "_logs": list(shown["_logs"])}
    first_end = next((event for event in events if isinstance(event, Ended)), None)
    assert one.status == (first_end.status if first_end else one.status)
    assert one.is_terminal == (first_end is not None)


@given(st.lists(EVENTS, max_size=30))
def test_times_are_in_order_and_logs_are_whole(events: list[Event]) -> None:
    one = prediction()
    taken = [event for number, event in enumerate(events) if one.apply(event, 101.0 + number)]
    times = [at for at in (one.created_at, one.started_at, one.completed_at) if at is not None]
    assert times == sorted(times)
    assert one.logs == "".join(event.text for event in taken if isinstance(event, Logged))
    assert (one.completed_at is not None) == one.is_terminal == ("total_time" in one.metrics)
    assert (one.started_at is None) == (not any(isinstance(event, Started | Produced) for event in taken))


async def test_a_prediction_goes_from_starting_to_its_end() -> None:
    predictions = Predictions()
    one = create(predictions, echo)
    assert one.status == "starting"
    assert await predictions.wait(one, 5)
    assert (one.status, one.output, one.logs) == ("succeeded", one.id, "hello\n")
    assert predictions.get(one.id) is one


async def test_wait_gives_up_after_its_seconds_and_leaves_the_prediction_running() -> None:
    predictions = Predictions()
    one = create(predictions)
    assert not await predictions.wait(one, 0.01)
    assert one.status == "starting"
    await predictions.close()
    assert (one.status, one.error) == ("failed", "the server was stopped")


async def test_cancel_ends_it_at_once_and_a_late_result_changes_nothing() -> None:
    predictions = Predictions()
    one = create(predictions)
    predictions.cancel(one)
    assert one.status == "canceled"
    predictions.cancel(one)
    await asyncio.sleep(0)  # the model's turn: it sees the cancel, and answers
    await predictions.close()
    assert (one.status, one.output) == ("canceled", None)


@pytest.mark.parametrize(("begun", "status"), [(False, "aborted"), (True, "canceled")])
async def test_its_deadline_aborts_it_before_the_start_and_cancels_it_after(begun: bool, status: str) -> None:  # noqa: FBT001 - the case
    async def work(id: str, canceled: asyncio.Event) -> AsyncGenerator[Event]:  # noqa: A002 - as the model's own parameter
        if begun:
            yield Started()
        async for event in nothing(id, canceled):
            yield event

    predictions = Predictions()
    one = create(predictions, work, cancel_after=0.02)
    assert one.deadline == one.created_at + 0.02
    assert await predictions.wait(one, 5)
    assert one.status == status
    await predictions.close()


async def test_a_model_that_raises_or_just_stops_has_failed_with_the_reason() -> None:
    async def broken(_: str, __: asyncio.Event) -> AsyncGenerator[Event]:
        yield Started()
        raise OSError("no more disk")

    async def quitter(_: str, __: asyncio.Event) -> AsyncGenerator[Event]:
        yield Started()

    predictions = Predictions()
    first, second = create(predictions, broken), create(predictions, quitter)
    await predictions.wait(first, 5)
    await predictions.wait(second, 5)
    assert (first.status, first.error) == ("failed", "no more disk")
    assert (second.status, second.error) == ("failed", "the model ended without a result")


async def test_events_can_be_read_from_any_position_while_they_come_and_afterwards() -> None:
    predictions = Predictions()
    one = create(predictions, echo)
    live = [event async for _, event in predictions.events(one)]
    assert live == [Started(), Logged("hello\n"), Produced(one.id), Ended("succeeded", one.id)]
    assert [position async for position, _ in predictions.events(one, 2)] == [2, 3]
    assert [position async for position, _ in predictions.events(one, 99)] == []


async def test_pages_of_100_go_newest_first_to_the_oldest_and_back() -> None:
    ticks = iter(range(1000, 2000))
    predictions = Predictions(clock=lambda: float(next(ticks, 2000)))
    made = [create(predictions) for _ in range(250)][::-1]
    first = predictions.page()
    second = predictions.page(first.next)
    third = predictions.page(second.next)
    assert [len(page.predictions) for page in (first, second, third)] == [100, 100, 50]
    assert first.predictions + second.predictions + third.predictions == made
    assert first.previous is None
    assert third.next is None
    assert predictions.page(third.previous).predictions == second.predictions
    await predictions.close()


async def test_created_after_includes_its_moment_and_created_before_does_not() -> None:
    ticks = iter((1.0, 2.0, 3.0, 4.0))
    predictions = Predictions(clock=lambda: next(ticks, 9.0))
    made = [create(predictions) for _ in range(4)]
    page = predictions.page(created_after=2.0, created_before=4.0)
    assert page.predictions == [made[2], made[1]]
    assert (page.next, page.previous) == (None, None)
    await predictions.close()


@pytest.mark.parametrize("cursor", ["", "x", "b3h4", "!!!!", "\u00e9"])
def test_a_cursor_from_elsewhere_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Predictions().page(cursor)


def test_ids_look_like_the_apis() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(id) == 26 and id.isalnum() and id == id.lower() for id in ids)  # noqa: A001 - it is one
