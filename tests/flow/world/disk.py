"""The journal's disk, and a journal on it: real SQLite, whose file is really locked or really full."""

from __future__ import annotations

import contextlib
import inspect
import resource
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .process import Process

BUSY = 10.0
"""Virtual seconds that the journal waits for another program's lock. The real time-out here is much shorter."""
REAL_BUSY = 0.002


class Fault(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """A fault that starts at the journal's call number ``at`` (from 0), counting only calls named ``call`` if given.

    ``full``: no call can write for ``amount`` calls. ``locked``: another program holds the write lock for
    ``amount`` seconds.
    """

    at: int
    kind: str
    amount: float
    call: str = ""


class Disk:
    def __init__(self, path: Path, faults: tuple[Fault, ...], now: Callable[[], float]) -> None:
        self.path, self._faults, self._now = path, faults, now
        self._calls = Counter[str]()
        self._full_until = -1
        self._locked_until = -1.0
        self._locks = self._fills = 0

    def heal(self) -> None:
        self._faults, self._full_until, self._locked_until = (), -1, -1.0

    def count(self, name: str) -> None:
        """Count a call of this name."""
        for fault in self._faults:
            if fault.call not in {"", name} or fault.at != self._calls[fault.call]:
                continue
            if fault.kind == "full":
                self._full_until = self._calls[""] + int(fault.amount)
            else:
                self._locked_until = self._now() + fault.amount
        self._calls.update(["", name])

    @property
    def is_full(self) -> bool:
        return self._calls[""] <= self._full_until

    @property
    def locked(self) -> float:
        """Seconds until the lock is released."""
        return max(0.0, self._locked_until - self._now())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the write lock in another connection."""
        if self._locks == 0:
            self._other = sqlite3.connect(self.path, isolation_level=None, timeout=1)
            with contextlib.suppress(sqlite3.OperationalError):  # the disk is full for another call: that is as bad
                self._other.execute("BEGIN IMMEDIATE")
        self._locks += 1
        try:
            yield
        finally:
            self._locks -= 1
            if self._locks == 0:
                self._other.close()

    @contextlib.contextmanager
    def fill(self) -> Iterator[None]:
        """Let no file of this process be written; pipes and sockets still work."""
        self._fills += 1
        _limit_files(0)
        try:
            yield
        finally:
            self._fills -= 1
            if self._fills == 0:
                _limit_files(resource.RLIM_INFINITY)


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class DiskJournal:
    """A process's journal. The process can be stopped, killed or interrupted before and after each call."""

    def __init__(self, inner: Any, disk: Disk, process: Process) -> None:
        self._inner, self._disk, self._process = inner, disk, process

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            await self._process.point(f"before {name}")
            self._disk.count(name)
            try:
                return await self._call(method, *arguments, **named)
            finally:
                await self._process.point(f"after {name}")

        return call

    async def renew(self) -> None:
        """Renew the claims, as the journal's own thread does every few seconds."""
        with contextlib.suppress(sqlite3.Error):
            await self._call(self._inner.renew)

    async def _call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._process.check_alive()
        wait = self._disk.locked
        broken: Any = contextlib.nullcontext()
        if self._disk.is_full:
            broken = self._disk.fill()
        elif wait > BUSY:
            broken = self._disk.lock()
        elif wait:
            await self._process.clock.sleep(wait)
        loop = self._process.loop
        try:
            with broken:
                loop.works += 1
                try:
                    return await method(*arguments, **named)
                finally:
                    loop.works -= 1
        except Exception:
            if wait > BUSY:
                await self._process.clock.sleep(BUSY)
            raise
