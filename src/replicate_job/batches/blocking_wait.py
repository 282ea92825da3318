"""How long the create of a batch's row is held open."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from replicate_job.flow.run import LONGEST_HOLD

FEW = 64
"""Rows in flight up to which each holds its create open to the end, as a single job does: one request each."""
MANY = 256
"""Creates that are held open together at most: each is a connection."""
QUICK = 1.0
"""Seconds up to which a prediction is quick: such creates are held, however many there are to come."""
BRIEF = 2
"""Seconds to hold the create of a quick one open."""
LATELY = 32
"""Predictions by which this is judged."""


class Holds:
    """Decides from whether predictions were quick lately. ``started`` maps the rows in flight to when each began."""

    def __init__(self, started: dict[str, float], now: Callable[[], float]) -> None:
        self._started, self._now = started, now
        self._lately: deque[bool] = deque(maxlen=LATELY)

    def took(self, seconds: float) -> None:
        self._lately.append(seconds < QUICK)

    def choose(self) -> int:
        """Seconds to hold the next create open, 0 for not at all."""
        if len(self._started) <= FEW:
            return LONGEST_HOLD
        return BRIEF if self._are_quick else 0

    def room(self, concurrency: int) -> int:
        """Rows that may be under way together: of quick ones, no more than can be held."""
        return min(concurrency, MANY) if self._are_quick else concurrency

    @property
    def _are_quick(self) -> bool:
        if not self._lately:
            # Nothing has ended yet: it takes at least as long as the oldest has been under way.
            return not self._started or self._now() - next(iter(self._started.values())) < QUICK
        return self._lately.count(True) * 2 > len(self._lately)
