"""Create requests block to the end if few rows run, briefly if predictions are quick, and otherwise not."""

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


def test_with_few_rows_in_flight_each_create_request_blocks_until_its_prediction_ends(flight: Flight) -> None:
    flight.start(FEW)
    flight.now += 1000
    assert flight.waits.choose() == LONGEST_BLOCKING_WAIT
    flight.waits.took(1000)
    assert flight.waits.choose() == LONGEST_BLOCKING_WAIT


def test_with_many_rows_in_flight_only_create_requests_of_quick_predictions_block_and_only_briefly(
    flight: Flight,
) -> None:
    flight.start(FEW + 1)
    flight.waits.took(QUICK / 2)
    assert flight.waits.choose() == BRIEF
    for _ in range(2):
        flight.waits.took(QUICK * 2)
    assert flight.waits.choose() == 0


def test_before_the_first_end_predictions_count_as_quick_until_the_oldest_row_has_run_too_long(flight: Flight) -> None:
    flight.start(FEW + 1)
    assert flight.waits.choose() == BRIEF
    flight.now += QUICK
    flight.start(10)
    assert flight.waits.choose() == 0


def test_while_predictions_are_quick_no_more_rows_run_than_may_block_at_the_same_time(flight: Flight) -> None:
    assert flight.waits.room(1000) == MANY
    assert flight.waits.room(10) == 10
    flight.waits.took(QUICK)
    assert flight.waits.room(1000) == 1000


def test_only_the_latest_predictions_decide_whether_predictions_count_as_quick(flight: Flight) -> None:
    flight.start(FEW + 1)
    for _ in range(LATELY):
        flight.waits.took(QUICK * 10)
    for _ in range(LATELY // 2 + 1):
        flight.waits.took(0)
    assert flight.waits.choose() == BRIEF
