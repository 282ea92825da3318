"""Few creates are held open to the end, quick ones briefly, and of many slow ones none."""

from __future__ import annotations

import pytest

from replicate_job.batches.blocking_wait import BRIEF, FEW, LATELY, MANY, QUICK, BlockingWaits
from replicate_job.flow.job_run import LONGEST_BLOCKING_WAIT


class Flight:
    """Rows in flight, with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.started: dict[str, float] = {}
        self.waits = BlockingWaits(self.started, lambda: self.now)

    def start(self, count: int) -> None:
        self.started |= {f"row {len(self.started) + number}": self.now for number in range(count)}


@pytest.fixture
def flight() -> Flight:
    return Flight()


def test_while_few_are_in_flight_each_is_held_to_the_end_however_long_it_takes(flight: Flight) -> None:
    flight.start(FEW)
    flight.now += 1000
    assert flight.waits.choose() == LONGEST_BLOCKING_WAIT
    flight.waits.took(1000)
    assert flight.waits.choose() == LONGEST_BLOCKING_WAIT


def test_of_many_the_quick_are_held_briefly_and_the_slow_not_at_all(flight: Flight) -> None:
    flight.start(FEW + 1)
    flight.waits.took(QUICK / 2)
    assert flight.waits.choose() == BRIEF
    for _ in range(2):
        flight.waits.took(QUICK * 2)
    assert flight.waits.choose() == 0


def test_while_nothing_has_ended_they_count_as_quick_until_the_oldest_is_too_old(flight: Flight) -> None:
    flight.start(FEW + 1)
    assert flight.waits.choose() == BRIEF
    flight.now += QUICK
    flight.start(10)
    assert flight.waits.choose() == 0


def test_of_the_quick_no_more_are_under_way_than_can_be_held(flight: Flight) -> None:
    assert flight.waits.room(1000) == MANY
    assert flight.waits.room(10) == 10
    flight.waits.took(QUICK)
    assert flight.waits.room(1000) == 1000


def test_only_the_latest_count(flight: Flight) -> None:
    flight.start(FEW + 1)
    for _ in range(LATELY):
        flight.waits.took(QUICK * 10)
    for _ in range(LATELY // 2 + 1):
        flight.waits.took(0)
    assert flight.waits.choose() == BRIEF
