"""The token bucket that limits an account's requests."""

from __future__ import annotations

import math

_ROUNDING = 1e-6


class TokenBucket:
    """Gets ``per_second`` tokens, and holds at most ``burst``; every request takes one.

    A request without a token is refused, and takes one all the same, because refused requests count at Replicate too.
    So a client that does not wait is refused for longer. The debt is at most ``burst``.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second, self.burst = per_second, burst
        self._tokens, self._seen = burst, math.inf

    def left(self) -> tuple[int, int]:
        """How many requests would pass at once, as of the last one, and seconds until it is full again."""
        return max(0, math.floor(self._tokens + _ROUNDING)), math.ceil((self.burst - self._tokens) / self.per_second)

    def take(self, now: float) -> float:
        """Seconds until a request passes; 0 where this one does. ``now`` is any clock that only rises, in seconds."""
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._seen) * self.per_second)
        self._seen = now
        self._tokens = max(-self.burst, self._tokens - 1)
        return 0.0 if self._tokens >= -_ROUNDING else (1 - self._tokens) / self.per_second
