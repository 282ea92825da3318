"""How a batch went over time, in a bounded number of bins."""

from __future__ import annotations

import math

from replicate_job.batches.report.distribution import Distribution

LIMIT = 200
"""Bins at most; a longer batch gets wider ones."""

_NARROWEST = 0.125  # seconds
_EACH = 4  # ends a bin, about: fewer show chance, not pace
_FEW = 12


class Bin:
    """Ends in a stretch of time: how many succeeded, how many did not, and the latency of the former in seconds."""

    def __init__(self) -> None:
        self.succeeded = self.other = 0
        self.latency = Distribution()

    def merge(self, other: Bin) -> None:
        self.succeeded += other.succeeded
        self.other += other.other
        self.latency.merge(other.latency)


class Series:
    """``bins`` by number, without those that are empty.

    Bin ``n`` reaches from ``n * width`` to ``(n + 1) * width``, in Unix time.
    """

    def __init__(self) -> None:
        self.width = _NARROWEST
        self.bins: dict[int, Bin] = {}
        self._total = self._first = self._last = 0

    def add(self, time: float, latency: float | None, *, succeeded: bool) -> None:
        """``time`` is that of the end, ``latency`` None where it is not known."""
        self._total += 1
        number = math.floor(time / self.width)
        self._first, self._last = (min(self._first, number), max(self._last, number)) if self.bins else (number, number)
        found = self.bins.get(number)
        if found is None:
            found = self.bins[number] = Bin()
        if succeeded:
            found.succeeded += 1
            if latency is not None:
                found.latency.add(latency)
        else:
            found.other += 1
        self._fit(LIMIT)

    def settle(self) -> None:
        """Widen the bins until they hold enough to show a pace."""
        self._fit(min(LIMIT, max(_FEW, self._total // _EACH)))

    @property
    def span(self) -> range:
        """The numbers of all bins, with the empty ones between them."""
        return range(self._first, self._last + 1) if self.bins else range(0)

    def _fit(self, limit: int) -> None:
        while len(self.span) > limit:
            wider: dict[int, Bin] = {}
            for number, one in self.bins.items():
                if number // 2 in wider:
                    wider[number // 2].merge(one)
                else:
                    wider[number // 2] = one
            self.bins, self.width = wider, self.width * 2
            self._first, self._last = self._first // 2, self._last // 2
