"""Keeps the journal's thread on the processor of the thread that it works for."""

from __future__ import annotations

import os
import time

_EVERY = 0.01
"""The least seconds between two looks at the caller's processor, which the system may change at any time."""
_STATUS, _STAT = "/proc/thread-self/status", "/proc/thread-self/stat"
_UNFILTERED = b"\nSeccomp:\t0\n"
"""The line of ``_STATUS`` in a process whose system calls are not filtered (proc(5)).

A filter may kill a process that places a thread: systemd's does with ``SystemCallFilter=~@resources``.
"""
_FIELD = 36
"""The processor's place in ``_STAT`` after the thread's name (proc(5), field 39)."""


class Follower:
    """``follow()`` moves the thread with the native id ``thread`` to the processor of the calling thread.

    Only one of two Python threads can run at a time, since they share the interpreter's lock. On two processors they
    wake each other across processors at every step, which costs a batch a tenth of its time. Only Linux tells a
    thread's processor. On other systems, and if the system refuses, nothing is done.
    """

    def __init__(self, thread: int | None) -> None:
        self._thread, self._processor = thread, -1
        self._is_able: bool | None = None
        self._due = 0.0

    def follow(self) -> None:
        if self._is_able is False or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _EVERY
        try:
            if self._is_able is None:
                self._is_able = hasattr(os, "sched_setaffinity") and _UNFILTERED in _read(_STATUS)
            if self._is_able and self._thread:
                self._move(int(_read(_STAT).rpartition(b")")[2].split()[_FIELD]), self._thread)
        except Exception:  # noqa: BLE001 - the place of a thread matters for its speed alone
            self._is_able = False

    def _move(self, processor: int, thread: int) -> None:
        if processor != self._processor:
            os.sched_setaffinity(thread, {processor})
            self._processor = processor


def _read(path: str) -> bytes:
    """The content of a file of ``/proc``. Each system call may wait for the interpreter's lock, so there are few."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 8192)
    finally:
        os.close(file)
