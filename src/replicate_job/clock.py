"""Clocks for reading the time and for waiting."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Protocol

import msgspec


class Clock(Protocol):
    """Time in seconds.

    ``time`` is Unix time, for records; a user may set this clock. ``now`` is monotonic, and continues while the machine
    sleeps. It counts from the machine's start. Two readings can be compared if both have the same ``boot``, which is
    empty if the system does not identify its boots.
    """

    @property
    def boot(self) -> str: ...
    def time(self) -> float: ...
    def now(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """A point in time as a clock read it.

    ``wall`` is Unix time. ``since`` is the clock's ``now`` in that ``boot``. ``api`` is the API's own time (Unix
    seconds), None before the first response.
    """

    wall: float
    boot: str = ""
    since: float = 0.0
    api: float | None = None

    @property
    def best(self) -> float:
        """Unix seconds by the API's clock if its time was known, else by the machine's clock."""
        return self.wall if self.api is None else self.api

    def on(self, clock: Clock) -> float | None:
        """The moment as the clock's ``now``. None if the moment is from another boot or another machine.

        Then only the wall time is known, and wall clocks may be wrong.
        """
        return self.since if self.boot and self.boot == clock.boot else None

    def age(self, clock: Clock) -> float | None:
        """Seconds since this moment. None as with ``on``."""
        at = self.on(clock)
        return None if at is None else max(0.0, clock.now() - at)

    def later(self, seconds: float) -> Moment:
        """The moment that comes ``seconds`` after this one."""
        api = None if self.api is None else self.api + seconds
        return Moment(self.wall + seconds, self.boot, self.since + seconds, api)


if sys.platform == "linux":
    _since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME)

    @cache
    def _boot() -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

else:
    # On macOS this clock continues during sleep, unlike time.monotonic.
    _since_boot = (
        partial(time.clock_gettime, time.CLOCK_MONOTONIC) if hasattr(time, "CLOCK_MONOTONIC") else time.monotonic
    )

    @cache
    def _boot() -> str:
        import ctypes  # noqa: PLC0415 - only this function needs it

        name, size = b"kern.bootsessionuuid", ctypes.c_size_t(64)
        uuid = ctypes.create_string_buffer(size.value)
        try:
            failed = ctypes.CDLL(None).sysctlbyname(name, uuid, ctypes.byref(size), None, 0)
        except (AttributeError, OSError, TypeError):  # no such function outside macOS and the BSDs
            return ""
        return "" if failed else uuid.value.decode("ascii", "replace")


class SystemClock:
    """The operating system's clocks: ``CLOCK_BOOTTIME`` if it exists."""

    time = staticmethod(time.time)
    now = staticmethod(_since_boot)

    @cached_property
    def boot(self) -> str:
        return _boot()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
