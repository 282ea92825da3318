"""What one model may take: memory, and room for its log."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path

_SHARE = 0.75
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_HEAD = _TAIL = 256 * 1024


def default_memory() -> int:
    """Three quarters of what this machine, or this container, has, in bytes.

    One model that wants it all then gets Python's MemoryError, and says so, while the rest of the machine lives on.
    It is a limit for each process: several large models at once can still be too much.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or the word "max" in it
        total = min(total, int(_CGROUP.read_text()))
    return int(total * _SHARE)


def memory_text(size: int) -> str:
    """As ``6.0 GiB``, in the units in which it is asked for."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


class LogExcerpt:
    """A log's beginning as it comes, and at its end its last part; between them, how much was left out.

    ``head`` and ``tail`` are in characters.
    """

    def __init__(self, head: int = _HEAD, tail: int = _TAIL) -> None:
        self._head, self._tail = head, tail
        self._held: deque[str] = deque()
        self._length = self._left_out = 0

    def take(self, text: str) -> str:
        """What of this text goes out now."""
        now, later = text[: self._head], text[self._head :]
        self._head -= len(now)
        if later:
            self._held.append(later)
            self._length += len(later)
        while self._held and self._length - len(self._held[0]) >= self._tail:
            dropped = len(self._held.popleft())
            self._length -= dropped
            self._left_out += dropped
        return now

    def rest(self) -> str:
        """What was held back, once nothing more comes."""
        text = "".join(self._held)
        self._held.clear()
        left_out = self._left_out + max(len(text) - self._tail, 0)
        note = f"\n[{left_out:,} characters of the log are left out here]\n" if left_out else ""
        return note + text[-self._tail :]
