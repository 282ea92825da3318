"""Where requests wait for their turn."""

from __future__ import annotations

import asyncio

from replicate_job.api.ratelimit import Bucket, Ticket
from replicate_job.clock import Clock


class Gate:
    """Lets requests through at the pace of ``bucket``, first come, first served.

    Whoever comes through gets a ticket, to send one request at once and to say how it was answered. ``throttled``
    counts 429s.
    """

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self.bucket, self._clock = bucket, clock
        self.throttled = 0
        self._first = asyncio.Lock()

    @property
    def paused(self) -> float:
        """Seconds that the API has still asked to wait."""
        return self.bucket.paused(self._clock.now())

    async def enter(self) -> Ticket:
        """Wait until a request may be sent."""
        if self._first.locked() or self.bucket.wait(self._clock.now()):
            async with self._first:
                while wait := self.bucket.wait(self._clock.now()):
                    await self._clock.sleep(wait)  # an answer may make it longer meanwhile
        return self.bucket.take(self._clock.now())

    def heard(self, ticket: Ticket) -> None:
        """Note an answer that is no 429."""
        self.bucket.accepted(ticket, self._clock.now())

    def refused(self, ticket: Ticket, retry_after: float | None) -> None:
        """Note a 429."""
        self.throttled += 1
        self.bucket.throttled(ticket, self._clock.now(), retry_after)
