"""A simulated machine's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

EPOCH = 1_770_000_000.0
"""Unix time at which the world begins."""
TICK = 1e-6
"""Seconds of the shortest sleep: no time of the world would pass in a shorter one, however often it is slept."""


class Jump(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """At ``at`` (seconds of the world) the wall clock is set forward by ``seconds``, which can be negative."""

    at: float
    seconds: float


class MachineClock:
    """A ``Clock`` whose ``time`` jumps as planned. Its ``now`` does not jump.

    The machine was ``started`` at that time, in world seconds.
    """

    def __init__(self, now: Callable[[], float], jumps: tuple[Jump, ...], *, started: float = -1000.0) -> None:
        self._now, self._jumps, self._started = now, jumps, started

    @property
    def boot(self) -> str:
        return f"boot at {self._started:g}"

    def time(self) -> float:
        now = self._now()
        return EPOCH + now + sum(jump.seconds for jump in self._jumps if jump.at <= now)

    def now(self) -> float:
        return self._now() - self._started

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, TICK) if seconds > 0 else 0)
