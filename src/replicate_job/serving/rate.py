"""Token buckets: how many requests a minute an account may send."""

from __future__ import annotations

import math

_ROUNDING = 1e-6


class TokenBucket:
    """Fills with ``per_second`` tokens up to ``burst``; every request takes one.

    A request that finds none is refused and takes one all the same (requests sent while throttled count), so
    that a client that hammers waits longer; the debt stops at ``burst``.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second, self.burst = per_second, burst
        self._tokens, self._seen = burst, math.inf

    def take(self, now: float) -> float:
        """Seconds until a request would pass; 0 when this one does. ``now`` is any clock that only rises."""
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._seen) * self.per_second)
        self._seen = now
        self._tokens = max(-self.burst, self._tokens - 1)
        return 0.0 if self._tokens >= -_ROUNDING else (1 - self._tokens) / self.per_second
