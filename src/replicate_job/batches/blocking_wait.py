"""How long the create request of a batch's row may block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from replicate_job.flow.job_run import LONGEST_BLOCKING_WAIT

FEW = 64
"""The most rows in flight with which each create request blocks to the prediction's end: one request a row."""
MANY = 256
"""The most create requests that block at the same time. Each takes a connection of its own."""
QUICK = 1.0
"""The most seconds of a quick prediction. The create requests of quick ones block with any number of rows in flight."""
BRIEF = 2
"""Seconds of blocking wait that are asked for a quick prediction."""
LATELY = 32
"""How many of the latest predictions decide whether predictions are quick."""


class BlockingWaits:
    """Chooses the blocking wait by the latest predictions' times. ``started`` maps rows in flight to their start."""

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
        """How many rows may be in flight. While predictions are quick, no more than may block at the same time."""
        return min(concurrency, MANY) if self._are_quick else concurrency

    @property
    def _are_quick(self) -> bool:
        if not self._lately:
            # Nothing has ended yet. A prediction takes at least as long as the oldest one has been running.
            return not self._started or self._now() - next(iter(self._started.values())) < QUICK
        return self._lately.count(True) * 2 > len(self._lately)
