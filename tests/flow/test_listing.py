"""The account's list from servers that do not sort it and ignore its filters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from replicate_job.flow.listing import read_list
from replicate_job.wire.prediction import Prediction

NOON = datetime(2026, 2, 2, 12, tzinfo=UTC)


class Unfiltered:
    """A server's list with one prediction a page; each was created that many minutes before noon."""

    def __init__(self, *minutes: float) -> None:
        self.asked = 0
        self._minutes = minutes

    async def list_predictions(self, *, after: datetime, before: datetime) -> AsyncIterator[list[Prediction]]:  # noqa: ARG002 - it ignores the filter
        for minutes in self._minutes:
            self.asked += 1
            created = (NOON - timedelta(minutes=minutes)).isoformat()
            yield [Prediction(id=f"p{minutes:g}", status="succeeded", created_at=created)]


@pytest.mark.parametrize("order", [range(300, -1, -1), (9, 7, 8, *range(300, 60, -1), 0)], ids=["oldest", "odd"])
async def test_an_unsorted_list_is_read_to_its_end(order: tuple[int, ...]) -> None:
    server = Unfiltered(*order)
    listing = await read_list(server, after=NOON - timedelta(minutes=5), before=NOON + timedelta(minutes=5))
    assert "p0" in {prediction.id for prediction in listing.predictions}
    assert listing.newest == NOON


async def test_a_sorted_list_is_read_only_as_far_as_needed() -> None:
    server = Unfiltered(*range(1000))
    await read_list(server, after=NOON - timedelta(minutes=5), before=NOON + timedelta(minutes=5))
    assert server.asked < 200
