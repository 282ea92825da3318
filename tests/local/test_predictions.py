from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.local.origin import ORIGIN
from replicate_job.local.prediction import (
    Ended,
    LocalPrediction,
    Logged,
    ModelEvent,
    PredictionRequest,
    Produced,
    Started,
)
from replicate_job.local.predictions import STOPPED, Predictions
from replicate_job.local.store import Store
from replicate_job.serving.answer import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path

HERE = "http://127.0.0.1:1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "state") as store:
        yield store


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()


def read(predictions: Predictions, id: str) -> Any:  # noqa: A002 - the API's own name
    return msgspec.json.decode(predictions.body(id, HERE) or b"null")


async def nothing(_: str, canceled: asyncio.Event) -> AsyncGenerator[ModelEvent]:
    """A model that runs until it is canceled."""
    await canceled.wait()
    yield Ended("succeeded", "too late")


async def echo(id: str, _: asyncio.Event) -> AsyncGenerator[ModelEvent]:  # noqa: A002 - the work is called with the id
    yield Started()
    yield Logged("hello\n")
    yield Produced(id)
    yield Ended("succeeded", id)


def create(predictions: Predictions, work: Any = nothing, **facts: Any) -> LocalPrediction:
    return predictions.create(PredictionRequest("me/model", "v", {"text": "a"}, **facts), work)


def numbers(page: Any) -> list[str]:
    return [msgspec.json.decode(body)["id"] for body in page.items]


async def test_a_prediction_goes_from_starting_to_its_end(store: Store) -> None:
    predictions = Predictions(store)
    one = create(predictions, echo)
    assert one.status == "starting"
    assert await predictions.wait(one, 5)
    assert (one.status, one.output, one.logs) == ("succeeded", one.id, "hello\n")
    assert predictions.get(one.id) is one


async def test_wait_returns_after_its_seconds_while_the_prediction_runs_on(store: Store) -> None:
    predictions = Predictions(store)
    one = create(predictions)
    assert not await predictions.wait(one, 0.01)
    assert one.status == "starting"
    await predictions.close()
    assert (one.status, one.error) == ("failed", STOPPED)


async def test_cancel_ends_a_prediction_at_once_and_ignores_a_late_result(store: Store) -> None:
    predictions = Predictions(store)
    one = create(predictions)
    predictions.cancel(one.id)
    assert one.status == "canceled"
    predictions.cancel(one.id)
    await asyncio.sleep(0)  # lets the model notice the cancellation and return its result
    await predictions.close()
    assert (one.status, one.output) == ("canceled", None)


@pytest.mark.parametrize(("begun", "status"), [(False, "aborted"), (True, "canceled")])
async def test_a_deadline_aborts_a_prediction_before_its_start_and_cancels_it_after_the_start(
    begun: bool,  # noqa: FBT001 - the case
    status: str,
    store: Store,
) -> None:
    async def work(id: str, canceled: asyncio.Event) -> AsyncGenerator[ModelEvent]:  # noqa: A002 - the work is called with the id
        if begun:
            yield Started()
        async for event in nothing(id, canceled):
            yield event

    predictions = Predictions(store)
    one = create(predictions, work, cancel_after=0.02)
    assert one.deadline == one.created_at + 0.02
    assert await predictions.wait(one, 5)
    assert one.status == status
    await predictions.close()


async def test_a_model_that_raises_or_stops_without_a_result_fails_the_prediction(store: Store) -> None:
    async def broken(_: str, __: asyncio.Event) -> AsyncGenerator[ModelEvent]:
        yield Started()
        raise OSError("no more disk")

    async def quitter(_: str, __: asyncio.Event) -> AsyncGenerator[ModelEvent]:
        yield Started()

    predictions = Predictions(store)
    first, second = create(predictions, broken), create(predictions, quitter)
    await predictions.wait(first, 5)
    await predictions.wait(second, 5)
    assert (first.status, first.error) == ("failed", "no more disk")
    assert (second.status, second.error) == ("failed", "the model ended without a result")


async def test_events_can_be_read_as_they_happen_and_later(store: Store) -> None:
    predictions = Predictions(store)
    one = create(predictions, echo)
    live = [event async for event in predictions.events(one)]
    assert live == [Started(), Logged("hello\n"), Produced(one.id), Ended("succeeded", one.id)]
    assert [event async for event in predictions.events(one)] == live


async def test_the_pages_of_the_list_go_from_the_newest_prediction_to_the_oldest_and_back(store: Store) -> None:
    ticks = iter(range(1000, 2000))
    predictions = Predictions(store, clock=lambda: float(next(ticks, 2000)))
    made = [create(predictions).id for _ in range(250)][::-1]
    first = await predictions.page(HERE)
    second = await predictions.page(HERE, first.next)
    third = await predictions.page(HERE, second.next)
    assert [len(page.items) for page in (first, second, third)] == [100, 100, 50]
    assert numbers(first) + numbers(second) + numbers(third) == made
    assert first.previous is None
    assert third.next is None
    assert (await predictions.page(HERE, third.previous)).items == second.items
    await predictions.close()


async def test_created_after_includes_its_moment_and_created_before_does_not(store: Store) -> None:
    ticks = iter((1.0, 2.0, 3.0, 4.0))
    predictions = Predictions(store, clock=lambda: next(ticks, 9.0))
    made = [create(predictions) for _ in range(4)]
    page = await predictions.page(HERE, created_after=2.0, created_before=4.0)
    assert numbers(page) == [made[2].id, made[1].id]
    assert (page.next, page.previous) == (None, None)
    await predictions.close()


@pytest.mark.parametrize("cursor", ["", "x", "b3h4", "!!!!", "\u00e9", "bzk5OTk5OTk5OTk5OTk5OTk5OTk5"])
async def test_a_malformed_cursor_is_refused(cursor: str, store: Store) -> None:
    with pytest.raises(RefusedError, match="Invalid cursor"):
        await Predictions(store).page(HERE, cursor)


async def test_after_a_restart_ended_predictions_are_unchanged_and_running_ones_have_failed(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as store:
        predictions = Predictions(store, clock=lambda: 100.0)
        done = create(predictions, echo)
        await predictions.wait(done, 5)
        at_end = read(predictions, done.id)
        left = create(predictions, webhook="http://receiver", webhook_events=frozenset({"completed"}))
        # Nothing is closed, as when a server is killed.
    with opened(tmp_path) as store:
        again = Predictions(store, clock=lambda: 107.0)
        recovered = again.recover()
        assert [(row.id, row.webhook) for row in recovered] == [(left.id, "http://receiver")]
        found = read(again, left.id)
        assert (found["status"], found["error"], found["metrics"]) == ("failed", STOPPED, {"total_time": 7.0})
        assert found["completed_at"] == "1970-01-01T00:01:47.000000Z"
        assert read(again, done.id) == at_end
        assert numbers(await again.page(HERE)) == [left.id, done.id]
        assert again.recover() == []
        newer = create(again)
        assert numbers(await again.page(HERE)) == [newer.id, left.id, done.id]
        await again.close()
    await predictions.close()


async def test_stored_urls_get_the_origin_that_the_client_uses(store: Store) -> None:
    async def writes(_: str, __: asyncio.Event) -> AsyncGenerator[ModelEvent]:
        yield Ended("succeeded", [f"{ORIGIN}/outputs/a/b.png"])

    predictions = Predictions(store)
    one = create(predictions, writes)
    assert read(predictions, one.id)["urls"]["get"] == f"{HERE}/v1/predictions/{one.id}"
    await predictions.wait(one, 5)
    assert read(predictions, one.id)["output"] == [f"{HERE}/outputs/a/b.png"]
    assert ORIGIN.encode() not in b"".join((await predictions.page(HERE)).items)


async def test_the_data_of_a_prediction_are_removed_after_the_retention_time(tmp_path: Path) -> None:
    gone: asyncio.Queue[str] = asyncio.Queue()
    with opened(tmp_path) as store:
        predictions = Predictions(store, retention=0.01, on_removed=gone.put_nowait)
        one = create(predictions, echo)
        assert await asyncio.wait_for(gone.get(), 20) == one.id
        found = read(predictions, one.id)
        assert (found["input"], found["output"], found["logs"], found["data_removed"]) == ({}, None, "", True)
        assert (found["status"], found["id"]) == ("succeeded", one.id)
        assert predictions.get(one.id) is None


async def test_data_whose_retention_time_ended_while_the_server_was_down_are_removed_at_its_start(
    tmp_path: Path,
) -> None:
    gone: asyncio.Queue[str] = asyncio.Queue()
    with opened(tmp_path) as store:
        predictions = Predictions(store, retention=3600, on_removed=gone.put_nowait)
        one = create(predictions, echo)
        await predictions.wait(one, 5)
        assert gone.empty()
    with opened(tmp_path) as store:
        Predictions(store, retention=0, on_removed=gone.put_nowait).recover()
        assert await asyncio.wait_for(gone.get(), 20) == one.id


async def test_of_the_ended_predictions_only_the_latest_ones_with_little_output_stay_in_memory(store: Store) -> None:
    predictions = Predictions(store)
    large = create(predictions, says("a" * 2**20))
    await predictions.wait(large, 5)
    assert predictions.get(large.id) is None
    assert read(predictions, large.id)["output"] == "a" * 2**20
    made = [create(predictions, says("a")) for _ in range(300)]
    for one in made:
        await predictions.wait(one, 5)
    kept = [predictions.get(one.id) is not None for one in made]
    assert kept == [False] * 44 + [True] * 256


@contextmanager
def full(store: Store) -> Iterator[None]:
    """As on a full disk, the database file cannot grow."""
    connection = store._connection  # noqa: SLF001 - simulates a full disk for this store alone
    (most,) = connection.execute("PRAGMA max_page_count").fetchone()
    connection.execute("PRAGMA max_page_count = 1")  # SQLite raises a smaller limit to the file's current size
    yield
    connection.execute(f"PRAGMA max_page_count = {most}")


def says(text: str) -> Callable[[str, asyncio.Event], AsyncGenerator[ModelEvent]]:
    async def work(_: str, __: asyncio.Event) -> AsyncGenerator[ModelEvent]:
        yield Ended("succeeded", text)

    return work


async def test_the_end_of_a_prediction_that_cannot_be_written_is_still_returned_and_listed(store: Store) -> None:
    predictions = Predictions(store)
    one, large = create(predictions), "a" * 100_000
    with full(store):
        two = create(predictions, says(large))
        assert await predictions.wait(two, 5)
        assert (two.status, read(predictions, two.id)["output"]) == ("succeeded", large)
        listed = [msgspec.json.decode(body) for body in (await predictions.page(HERE)).items]
        assert [(each["id"], each["status"]) for each in listed] == [(two.id, "succeeded"), (one.id, "starting")]
        assert b"succeeded" not in store_body(store, two.id)
    await predictions.close()


def store_body(store: Store, id: str) -> bytes:  # noqa: A002 - the API's own name
    found = store.get(id)
    assert found
    return found.body


async def test_the_unwritten_end_of_a_prediction_is_written_with_the_end_of_the_next_one(store: Store) -> None:
    predictions = Predictions(store)
    with full(store):
        one = create(predictions, says("a" * 100_000))
        assert await predictions.wait(one, 5)
    two = create(predictions, echo)
    assert await predictions.wait(two, 5)
    assert store_body(store, one.id) == predictions.body(one.id, ORIGIN)
    assert store.unfinished() == []
    await predictions.close()


async def test_a_large_output_that_does_not_fit_on_the_disk_does_not_delay_the_end_of_another(store: Store) -> None:
    predictions = Predictions(store)
    with full(store):
        large, small = create(predictions, says("a" * 100_000)), create(predictions, echo)
        assert await predictions.wait(large, 5)
        assert await predictions.wait(small, 5)
        assert [row.id for row in store.unfinished()] == [large.id]
    await predictions.close()


async def test_writing_the_end_of_a_prediction_is_retried_by_a_timer(store: Store) -> None:
    predictions = Predictions(store)
    with full(store):
        one = create(predictions, says("a" * 100_000))
        assert await predictions.wait(one, 5)
    async with asyncio.timeout(10):
        while store.unfinished():  # noqa: ASYNC110 - there is no event for the retry
            await asyncio.sleep(0.01)
    assert store_body(store, one.id) == predictions.body(one.id, ORIGIN)
    await predictions.close()


async def test_the_unwritten_end_of_a_prediction_is_written_when_the_server_closes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        predictions = Predictions(store)
        with full(store):
            one = create(predictions, says("a" * 100_000))
            assert await predictions.wait(one, 5)
        await predictions.close()
    with opened(tmp_path) as store:
        again = Predictions(store)
        assert again.recover() == []
        assert read(again, one.id)["status"] == "succeeded"


async def test_removing_data_is_retried_after_a_full_disk(tmp_path: Path) -> None:
    gone: asyncio.Queue[str] = asyncio.Queue()
    with opened(tmp_path) as store:
        predictions = Predictions(store, retention=0.0, on_removed=gone.put_nowait)
        with full(store):
            one = create(predictions, says("a" * 100_000))
            assert await predictions.wait(one, 5)
            assert gone.empty()
        assert await asyncio.wait_for(gone.get(), 20) == one.id
        assert read(predictions, one.id)["data_removed"]
        await predictions.close()


async def test_other_tasks_run_while_a_large_page_is_read(store: Store) -> None:
    predictions = Predictions(store)
    for _ in range(20):
        await predictions.wait(create(predictions, says("a" * 2**17)), 5)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    page = await predictions.page(HERE)
    counting.cancel()
    assert len(page.items) == 20
    assert turns >= 20


async def test_a_page_shows_running_predictions_as_of_its_request(store: Store) -> None:
    async def works(_: str, __: asyncio.Event) -> AsyncGenerator[ModelEvent]:
        yield Produced("a" * 2**17, part=True)
        await asked.wait()
        yield Ended("succeeded", ["b"])

    asked, predictions = asyncio.Event(), Predictions(store)
    made = [create(predictions, works) for _ in range(5)]
    for one in made:
        while one.status == "starting":
            await one.changed.wait()
    asked.set()
    page = await predictions.page(HERE)
    assert {msgspec.json.decode(body)["status"] for body in page.items} == {"processing"}
    await predictions.close()
