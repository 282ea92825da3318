"""The token bucket that limits an account's requests."""

from __future__ import annotations

import math

_ROUNDING = 1e-6


class TokenBucket:
    """A bucket that gains ``per_second`` tokens a second, up to ``burst``. Every request takes a token.

    Without a token, the request is refused. A refused request takes a token too, because Replicate also counts refused
    requests. So a client that does not wait is refused for longer. The bucket owes at most ``burst`` tokens.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second, self.burst = per_second, burst
        self._tokens, self._seen = burst, math.inf

    def left(self) -> tuple[int, int]:
        """How many more requests would pass at once, and the seconds until the bucket is full again."""
        return max(0, math.floor(self._tokens + _ROUNDING)), math.ceil((self.burst - self._tokens) / self.per_second)

    def take(self, now: float) -> float:
        """Take a token. Returns 0 if the request passes, else the seconds until a request would pass.

        ``now`` is the time of a monotonic clock, in seconds.
        """
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._seen) * self.per_second)
        self._seen = now
        self._tokens = max(-self.burst, self._tokens - 1)
        return 0.0 if self._tokens >= -_ROUNDING else (1 - self._tokens) / self.per_second
