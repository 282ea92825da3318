"""How values spread, without keeping them."""

from __future__ import annotations

import math
from collections import Counter

_GROWTH = math.log(1.02)
_SMALLEST = 1e-3


class Distribution:
    """Of values from 0 up, in buckets that each reach 2 % further: a quantile is right to 1 %, its memory is flat."""

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
        """The value that ``part`` (0 to 1) of all values are not above. ``number`` must not be 0."""
        rank = max(1, math.ceil(part * self.number))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                middle = math.exp((bucket + 0.5) * _GROWTH)
                return min(max(middle, self.least), self.most)
        return self.most
