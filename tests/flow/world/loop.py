"""An event loop in virtual time: it runs until all of its tasks sleep, and time passes only when the world says so."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from replicate_job.journal.sqlite_thread import GATHERING

GATHERED = GATHERING + 0.0001
"""Seconds after which the journal's writer has waited for more work to share a transaction with."""
STUCK = 30.0
"""Real seconds after which a journal's thread that does not answer is a failure."""


class _Selector(selectors.DefaultSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self.loop.works and timeout is not None and timeout <= GATHERED:
            self.loop.advance(timeout)
            return []
        if self.loop.works:
            events = super().select(STUCK)
            assert events, "the journal's thread is stuck"
            return events
        self.loop.wakes = math.inf if timeout is None else self.loop.time() + timeout
        self.loop.stop()
        return []


class _Inline(ThreadPoolExecutor):
    """Runs a thread's work at once, so that the order of events is always the same."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **named))
        except BaseException as error:  # noqa: BLE001 - an executor passes any error on through its future
            future.set_exception(error)
        return future


class VirtualLoop(asyncio.SelectorEventLoop):
    """``now`` returns the time and ``advance`` moves it, both in seconds.

    ``works`` counts the work of threads, which takes real time and no virtual time. ``wakes`` is the time at which the
    first sleeping task continues, after a ``run_until_idle``.
    """

    def __init__(self, now: Callable[[], float], advance: Callable[[float], None]) -> None:
        self._now, self.advance = now, advance
        self.works, self.wakes = 0, -math.inf
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_default_executor(_Inline())

    def time(self) -> float:
        return self._now()

    def run_until_idle(self) -> None:
        self.run_forever()
