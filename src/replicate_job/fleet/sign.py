"""A worker's sign of life on its host's disk, for a probe that comes while the database is away."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

EVERY = 3.0
"""Seconds between two signs."""
FRESH = 15.0
"""Seconds for which a sign says that its worker lives."""


async def show(folder: Path, journal: str) -> None:
    """Show that this process's event loop runs, until cancelled. Where the folder cannot be written, nothing is shown.

    ``journal`` is the address of the worker's journal, without its password.
    """
    path = folder / f"{_prefix(journal)}{os.getpid()}"
    try:
        while True:
            _touch(path)
            await asyncio.sleep(EVERY)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _touch(path: Path) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def signs(folder: Path, journal: str) -> dict[int, float]:
    """The workers of this host that live, by the numbers of their processes: how many seconds ago each showed it."""
    prefix, now = _prefix(journal), time.time()
    found: dict[int, float] = {}
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError, ValueError):
            age = now - path.stat().st_mtime
            if age < FRESH:
                found[int(path.name.removeprefix(prefix))] = max(0.0, age)
            else:
                path.unlink(missing_ok=True)  # of one that was killed
    return found


def _prefix(journal: str) -> str:
    return f"worker-{blake2b(journal.encode(), digest_size=6).hexdigest()}-"
