"""How long the create request of a batch's row may block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from replicate_job.flow.job_run import LONGEST_BLOCKING_WAIT

FEW = 64
"""Up to this many rows in flight, each create request waits until its prediction ends: one request a row."""
MANY = 256
"""The most create requests that wait so at the same time. Each takes a connection of its own."""
QUICK = 1.0
"""A quick prediction takes less than this many seconds. Its create request waits for its end, however many rows are in
flight."""
BRIEF = 2
"""Seconds that the create request of a quick prediction asks the API to block."""
LATELY = 32
"""How many of the latest predictions decide whether predictions are quick."""


class BlockingWaits:
    """Chooses the blocking wait by the durations of the latest predictions.

    ``started`` has the start time of each row in flight.
    """

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
        """How many rows may be in flight.

        While predictions are quick, at most ``MANY``, since each row's request blocks.
        """
        return min(concurrency, MANY) if self._are_quick else concurrency

    @property
    def _are_quick(self) -> bool:
        if not self._lately:
            # No prediction has ended yet. A prediction takes at least as long as the oldest row has been running.
            return not self._started or self._now() - next(iter(self._started.values())) < QUICK
        return self._lately.count(True) * 2 > len(self._lately)
