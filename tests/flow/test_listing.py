"""Reading the account's list from servers that order it as they like and know no filter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from replicate_job.flow.listing import read_list
from replicate_job.wire.prediction import Prediction

NOON = datetime(2026, 2, 2, 12, tzinfo=UTC)


class Unfiltered:
    """A server's list, one prediction a page, each made so many minutes before noon."""

    def __init__(self, *minutes: float) -> None:
        self.asked = 0
        self._minutes = minutes

    async def list_predictions(self, *, after: datetime, before: datetime) -> AsyncIterator[list[Prediction]]:  # noqa: ARG002 - it knows no filter
        for minutes in self._minutes:
            self.asked += 1
            created = (NOON - timedelta(minutes=minutes)).isoformat()
            yield [Prediction(id=f"p{minutes:g}", status="succeeded", created_at=created)]


@pytest.mark.parametrize("order", [range(300, -1, -1), (9, 7, 8, *range(300, 60, -1), 0)], ids=["oldest", "odd"])
async def test_a_list_that_does_not_begin_with_the_newest_is_read_to_its_end(order: tuple[int, ...]) -> None:
    server = Unfiltered(*order)
    listing = await read_list(server, after=NOON - timedelta(minutes=5), before=NOON + timedelta(minutes=5))
    assert "p0" in {prediction.id for prediction in listing.predictions}
    assert listing.newest == NOON


async def test_a_list_that_begins_with_the_newest_is_read_no_further_than_needed() -> None:
    server = Unfiltered(*range(1000))
    await read_list(server, after=NOON - timedelta(minutes=5), before=NOON + timedelta(minutes=5))
    assert server.asked < 200
