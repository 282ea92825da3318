"""Limits of a model: its memory, and the length of its log."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path

_MEMORY_SHARE = 0.75
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_HEAD = _TAIL = 256 * 1024  # characters that are sent of each end of the log


def default_memory() -> int:
    """Three quarters of the memory of this machine or container, in bytes.

    A model that needs more gets Python's MemoryError, which its prediction reports, and the machine stays usable. The
    limit applies to each process, so several large models together can still need too much.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # the file is missing, or it contains the word "max"
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    return int(total * _MEMORY_SHARE)


def memory_text(size: int) -> str:
    """A size such as ``6.0 GiB``, in the units of the option that sets the limit."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


class LogExcerpt:
    """Shortens a log to its first ``head`` characters, which are sent at once, and its last ``tail``, sent at its end.

    A note between the two says how much was left out.
    """

    def __init__(self, head: int = _HEAD, tail: int = _TAIL) -> None:
        self._head, self._tail = head, tail
        self._held_back: deque[str] = deque()
        self._length = self._left_out = 0

    def take(self, text: str) -> str:
        """The part of this text that is sent now."""
        now, later = text[: self._head], text[self._head :]
        self._head -= len(now)
        if later:
            self._held_back.append(later)
            self._length += len(later)
        # A text is dropped when the texts after it are enough for the tail.
        while self._held_back and self._length - len(self._held_back[0]) >= self._tail:
            dropped = len(self._held_back.popleft())
            self._length -= dropped
            self._left_out += dropped
        return now

    def rest(self) -> str:
        """The tail of the log, when the log is complete. The note about what was left out comes first."""
        text = "".join(self._held_back)
        self._held_back.clear()
        left_out = self._left_out + max(len(text) - self._tail, 0)
        note = f"\n[{left_out:,} characters of the log are left out here]\n" if left_out else ""
        return note + text[-self._tail :]
