"""The spans of time in which a batch's predictions ran, and the pauses between them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

PAUSE = 60.0
"""The shortest pause, in seconds without a prediction. A shorter gap counts as work."""
_LIMIT = 1000  # the most spans


class Spans:
    """The spans of a batch, in a fixed amount of memory. Beyond 1,000 spans, the shortest pauses count as work."""

    def __init__(self) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._pause = PAUSE

    @property
    def work(self) -> float:
        """Seconds in all spans."""
        return sum(self._ends) - sum(self._starts)

    @property
    def pauses(self) -> float:
        """Seconds between the spans."""
        return self._ends[-1] - self._starts[0] - self.work if self._starts else 0.0

    def add(self, start: float, end: float) -> None:
        """Add the time of a prediction. Predictions may come in any order; ``end`` is not before ``start``."""
        if self._starts and self._starts[-1] <= start <= self._ends[-1] + self._pause:  # as for most predictions
            self._ends[-1] = max(end, self._ends[-1])
            return
        # The spans with the indices from ``first`` to ``last - 1`` are joined with the new span: no pause lies between.
        first = bisect_left(self._ends, start - self._pause)
        last = bisect_right(self._starts, end + self._pause)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]
        while len(self._starts) > _LIMIT:
            self._widen()

    def _widen(self) -> None:
        """Double the length up to which a pause counts as work, and join the spans that only such pauses separate."""
        self._pause *= 2
        pairs = list(zip(self._starts, self._ends, strict=True))
        self._starts, self._ends = [], []
        for start, end in pairs:
            if self._ends and start - self._ends[-1] <= self._pause:
                self._ends[-1] = end
            else:
                self._starts.append(start)
                self._ends.append(end)
