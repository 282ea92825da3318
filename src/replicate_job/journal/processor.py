"""Keeps the journal's thread on the processor of the thread that it works for."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_EVERY = 0.01
"""Seconds between two looks at the processor of the calling thread, which the system may change at any time."""
_PLACE = Path("/proc/thread-self/stat")
_FIELD = 36
"""The processor's place in ``_PLACE`` after the thread's name (proc(5), field 39)."""


class Follower:
    """``follow()`` moves the thread with the native id ``thread`` to the processor of the calling thread.

    Only one of two Python threads can run at a time, since they share the interpreter's lock. On two processors they
    wake each other across processors at every step, which costs a batch a tenth of its time. Only Linux lets a process
    place a thread. Elsewhere, or if the system refuses, nothing is done.
    """

    def __init__(self, thread: int | None) -> None:
        self._thread, self._processor = thread, -1
        self._is_able = thread is not None and sys.platform == "linux"
        self._due = 0.0

    def follow(self) -> None:
        if not self._is_able or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _EVERY
        try:
            processor = int(_PLACE.read_bytes().rpartition(b")")[2].split()[_FIELD])
            if processor != self._processor:
                os.sched_setaffinity(self._thread or 0, {processor})
                self._processor = processor
        except (OSError, ValueError, IndexError):
            self._is_able = False
