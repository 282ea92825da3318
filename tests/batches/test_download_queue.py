"""A few downloads run at a time. The next one is that whose outputs expire first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from replicate_job.batches.download_queue import AT_ONCE, DownloadQueue
from replicate_job.batches.progress import Tally
from replicate_job.wire.prediction import Prediction


def ended(minute: int | None) -> Prediction:
    return Prediction(f"p{minute}", "succeeded", completed_at=None if minute is None else f"2026-01-01T10:{minute:02}Z")


class Work:
    """Downloads that run until the test ends them. ``began`` lists the started ones, ``most`` is the most at a time."""

    def __init__(self) -> None:
        self.tally = Tally(running=1000)
        self.saves = DownloadQueue(self.tally)
        self.began: list[str] = []
        self.now = self.most = 0
        self.tasks: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.Event] = []

    async def begin(self, predictions: Sequence[Prediction]) -> None:
        for prediction in predictions:
            event = asyncio.Event()
            self._ends.append(event)
            self.tasks.append(asyncio.create_task(self._save(prediction, event)))
        await self.settle()

    async def _save(self, prediction: Prediction, event: asyncio.Event) -> None:
        async with self.saves.slot(prediction):
            self.began.append(prediction.id)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await event.wait()
            finally:
                self.now -= 1

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self, number: int) -> None:
        self._ends[number].set()
        await self.settle()


@pytest.fixture
def work() -> Work:
    return Work()


async def test_outputs_are_downloaded_in_the_order_in_which_their_predictions_ended(work: Work) -> None:
    await work.begin([ended(0)] * AT_ONCE)
    await work.begin([ended(minute) for minute in (30, 10, 20, None, 10)])
    assert work.began == ["p0"] * AT_ONCE
    for number in range(5):
        await work.end(number)
    assert work.began[AT_ONCE:] == ["pNone", "p10", "p10", "p20", "p30"]
    assert work.most == AT_ONCE


async def test_a_row_whose_download_waits_or_runs_counts_as_saving(work: Work) -> None:
    await work.begin([ended(1)] * (AT_ONCE + 4))
    assert (work.tally.running, work.tally.saving) == (1000 - AT_ONCE - 4, AT_ONCE + 4)
    for number in range(AT_ONCE + 4):
        await work.end(number)
    assert (work.tally.running, work.tally.saving) == (1000, 0)


async def test_a_download_that_is_canceled_while_it_waits_takes_no_slot(work: Work) -> None:
    await work.begin([ended(0)] * AT_ONCE)
    await work.begin([ended(minute) for minute in range(1, 7)])
    for task in work.tasks[AT_ONCE : AT_ONCE + 3]:
        task.cancel()
    await work.settle()
    await work.end(0)
    assert work.began[AT_ONCE:] == ["p4"]
    for number in range(1, AT_ONCE + 6):
        await work.end(number)
    assert (work.tally.running, work.tally.saving, work.now) == (1000, 0, 0)
    await work.begin([ended(9)] * (AT_ONCE + 1))
    assert work.now == AT_ONCE


async def test_a_download_that_is_canceled_as_it_gets_a_slot_passes_the_slot_on(work: Work) -> None:
    await work.begin([ended(0)] * (AT_ONCE - 1))
    event = asyncio.Event()

    async def stop_the_next() -> None:
        async with work.saves.slot(ended(0)):
            await event.wait()
        work.tasks[AT_ONCE - 1].cancel()  # it has been given the turn just now, and has not gone on yet

    last = asyncio.create_task(stop_the_next())
    await work.settle()
    await work.begin([ended(1), ended(2)])
    event.set()
    await last
    await work.settle()
    assert work.tasks[AT_ONCE - 1].cancelled()
    assert work.began[AT_ONCE - 1 :] == ["p2"]
    assert work.tally.saving == work.now == AT_ONCE


async def test_a_failed_or_canceled_download_frees_its_slot(work: Work) -> None:
    await work.begin([ended(0)] * AT_ONCE)
    await work.begin([ended(1), ended(2)])
    work.tasks[3].cancel()
    await work.settle()
    assert work.began[AT_ONCE:] == ["p1"]
    with pytest.raises(OSError, match="disk"):
        async with DownloadQueue(work.tally).slot(ended(5)):
            raise OSError("disk")
    assert work.tally.saving == AT_ONCE + 1
