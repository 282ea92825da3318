"""The course of a batch over time, in a bounded number of bins, and the distribution of its latencies."""

from __future__ import annotations

import math
from collections import Counter

LIMIT = 200
"""The most bins; a longer batch gets wider ones."""

_NARROWEST = 0.125  # seconds of a bin before neighbours are joined
_PER_BIN = 4  # the least average number of predictions in a bin; with fewer, a curve would show only chance
_FEWEST = 12  # a short batch keeps at least this many bins
_GROWTH = math.log(1.02)
_SMALLEST = 1e-3


class Distribution:
    """Counts values from 0 up in buckets, each 2 % wider than the bucket before, so that a quantile is right to 1 %."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.number, self.least, self.most = 0, math.inf, 0.0

    def add(self, value: float) -> None:
        self._buckets[math.floor(math.log(max(value, _SMALLEST)) / _GROWTH)] += 1
        self.number += 1
        self.least, self.most = min(self.least, value), max(self.most, value)

    def merge(self, other: Distribution) -> None:
        self._buckets += other._buckets
        self.number += other.number
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)

    def quantile(self, part: float) -> float:
        """The value that the share ``part`` (0 to 1) of all values does not exceed. ``number`` must not be 0."""
        rank = max(1, math.ceil(part * self.number))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                middle = math.exp((bucket + 0.5) * _GROWTH)
                return min(max(middle, self.least), self.most)
        return self.most


class Bin:
    """The predictions that ended in a span of time. ``latency`` has the seconds of those that succeeded."""

    def __init__(self) -> None:
        self.succeeded = self.other = 0
        self.latency = Distribution()

    def merge(self, other: Bin) -> None:
        self.succeeded += other.succeeded
        self.other += other.other
        self.latency.merge(other.latency)


class Series:
    """The predictions of a batch in bins, by the time of their ends.

    Bin ``n`` is from ``n * width`` to ``(n + 1) * width`` in Unix time. ``bins`` has the bins that are not empty, by
    their numbers.
    """

    def __init__(self) -> None:
        self.width = _NARROWEST
        self.bins: dict[int, Bin] = {}
        self._total = self._first = self._last = 0

    def add(self, time: float, latency: float | None, *, succeeded: bool) -> None:
        """Add a prediction that ended at ``time``. Its ``latency`` is None if not known."""
        self._total += 1
        number = math.floor(time / self.width)
        self._first, self._last = (min(self._first, number), max(self._last, number)) if self.bins else (number, number)
        target = self.bins.get(number)
        if target is None:
            target = self.bins[number] = Bin()
        if succeeded:
            target.succeeded += 1
            if latency is not None:
                target.latency.add(latency)
        else:
            target.other += 1
        self._fit(LIMIT)

    def settle(self) -> None:
        """Widen the bins until they contain enough predictions to show a pace."""
        self._fit(min(LIMIT, max(_FEWEST, self._total // _PER_BIN)))

    @property
    def span(self) -> range:
        """The numbers of all bins, including the empty ones between them."""
        return range(self._first, self._last + 1) if self.bins else range(0)

    def _fit(self, limit: int) -> None:
        while len(self.span) > limit:
            wider: dict[int, Bin] = {}
            for number, narrow in self.bins.items():
                if number // 2 in wider:
                    wider[number // 2].merge(narrow)
                else:
                    wider[number // 2] = narrow
            # Two neighbours are joined, so that no count is ever divided.
            self.bins, self.width = wider, self.width * 2
            self._first, self._last = self._first // 2, self._last // 2
