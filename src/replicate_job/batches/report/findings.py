"""The figures of a report, gathered from one result after another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicate_job.batches.report.card import Cards
from replicate_job.batches.report.series import Distribution, Series
from replicate_job.batches.results.summary import Summary
from replicate_job.job import Result
from replicate_job.quantity import seconds
from replicate_job.wire.prediction import parse_time

if TYPE_CHECKING:
    from replicate_job.batches.report.sheet import Sheet

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Findings:
    """The figures of a report, in a fixed amount of memory.

    ``latency`` is the distribution of the seconds that successful predictions took. If there is a ``sheet``, the report
    shows it in place of the cards.
    """

    def __init__(self, sheet: Sheet | None = None) -> None:
        self.sheet = sheet
        self.summary = Summary()
        self.latency = Distribution()
        self.series = Series()
        self.cards = Cards()

    def add(self, result: Result) -> None:
        self.summary.add(result)
        latency, succeeded = latency_of(result), result.status == "succeeded"
        if succeeded and latency is not None:
            self.latency.add(latency)
        ended = parse_time(result.completed_at)
        if ended and _EARLIEST < ended < _LATEST:  # one wrong clock would squeeze all other results into one bin
            self.series.add(ended.timestamp(), latency, succeeded=succeeded)
        (self.sheet or self.cards).add(result, latency)


def latency_of(result: Result) -> float | None:
    """Seconds from the creation of the (first) prediction to the end, by the API's times.

    If one of these times is missing, the metric ``total_time`` is used; None if that is missing too.
    """
    created, completed = parse_time(result.predictions[0].created_at), parse_time(result.completed_at)
    if created and completed:
        return seconds((completed - created).total_seconds())
    return seconds(result.metrics.get("total_time"))
