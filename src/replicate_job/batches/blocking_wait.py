"""How long the create request of a batch's row may block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from replicate_job.flow.job_run import LONGEST_BLOCKING_WAIT

FEW = 64
"""Rows in flight up to which each one blocks to its end, as a single job does: one request each."""
MANY = 256
"""Create requests that block at the same time at most: each has a connection of its own."""
QUICK = 1.0
"""Seconds up to which a prediction is quick: its create request blocks, however many rows are left."""
BRIEF = 2
"""Seconds of blocking wait for a quick prediction."""
LATELY = 32
"""Predictions by which this is judged."""


class BlockingWaits:
    """Decides from whether predictions were quick lately. ``started`` maps the rows in flight to when each began."""

    def __init__(self, started: dict[str, float], now: Callable[[], float]) -> None:
        self._started, self._now = started, now
        self._lately: deque[bool] = deque(maxlen=LATELY)

    def took(self, seconds: float) -> None:
        self._lately.append(seconds < QUICK)

    def choose(self) -> int:
        """Seconds of blocking wait for the next create request, 0 for none."""
        if len(self._started) <= FEW:
            return LONGEST_BLOCKING_WAIT
        return BRIEF if self._are_quick else 0

    def room(self, concurrency: int) -> int:
        """Rows that may be under way together: where they are quick, no more than may block."""
        return min(concurrency, MANY) if self._are_quick else concurrency

    @property
    def _are_quick(self) -> bool:
        if not self._lately:
            # Nothing has ended yet: it takes at least as long as the oldest has been under way.
            return not self._started or self._now() - next(iter(self._started.values())) < QUICK
        return self._lately.count(True) * 2 > len(self._lately)
