"""How long the create request of a batch's row may block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from replicate_job.flow.job_run import LONGEST_BLOCKING_WAIT

FEW = 64
"""With at most this many rows in flight, each create request blocks until its prediction ends, so that a row usually
needs a single request."""
MANY = 256
"""The most create requests that block at the same time. Each uses a connection of its own."""
QUICK = 1.0
"""A prediction is quick if it takes less than this many seconds. While predictions are quick, create requests block,
however many rows are in flight."""
BRIEF = 2
"""Seconds of blocking wait while predictions are quick and more than ``FEW`` rows are in flight."""
LATELY = 32
"""The number of latest predictions that decide whether predictions are quick: more than half of them must be."""


class BlockingWaits:
    """Chooses the blocking wait by the durations of the latest predictions.

    ``started`` maps the key of each job in flight to the job's start time, oldest first. ``longest`` is the longest
    blocking wait, in seconds.
    """

    def __init__(
        self, started: dict[str, float], now: Callable[[], float], longest: int = LONGEST_BLOCKING_WAIT
    ) -> None:
        self._started, self._now, self._longest = started, now, longest
        self._lately = deque[bool]()
        self._quick = 0

    def took(self, seconds: float) -> None:
        is_quick = seconds < QUICK
        self._lately.append(is_quick)
        self._quick += is_quick
        if len(self._lately) > LATELY:
            self._quick -= self._lately.popleft()

    def choose(self) -> int:
        """Seconds of blocking wait for the next create request, 0 for none."""
        if len(self._started) <= FEW:
            return self._longest
        return BRIEF if self._are_quick else 0

    def room(self, concurrency: int) -> int:
        """The most rows that may be in flight.

        While predictions are quick, the number is at most ``MANY``, since each row's create request blocks.
        """
        return min(concurrency, MANY) if self._are_quick else concurrency

    @property
    def _are_quick(self) -> bool:
        if not self._lately:
            # No prediction has ended yet. A prediction takes at least as long as the oldest row has been running.
            return not self._started or self._now() - next(iter(self._started.values())) < QUICK
        return self._quick * 2 > len(self._lately)
