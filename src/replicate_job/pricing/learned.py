"""Quantiles of the costs of the newest predictions."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from decimal import Decimal

WINDOW = 1000
"""How many of the newest costs count."""
FEW = 20
"""With fewer costs, the 95th percentile is the highest and the 5th the lowest."""


class Learned:
    """Stores the newest ``WINDOW`` costs. ``add`` appends a cost."""

    def __init__(self) -> None:
        self._newest: deque[Decimal] = deque()
        self._sorted: list[Decimal] = []

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def is_few(self) -> bool:
        return len(self) < FEW

    def add(self, cost: Decimal) -> None:
        self._newest.append(cost)
        insort(self._sorted, cost)
        if len(self._newest) > WINDOW:
            del self._sorted[bisect_left(self._sorted, self._newest.popleft())]

    def quantile(self, part: float) -> Decimal | None:
        """The lowest cost that the share ``part`` (0 to 1) of all costs do not exceed. None without costs."""
        if not self._sorted:
            return None
        return self._sorted[max(1, math.ceil(part * len(self._sorted))) - 1]
