"""A worker's heartbeat in a file on its host, for health probes that cannot reach the database."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

EVERY = 3.0
"""Seconds between two heartbeats."""
FRESH = 15.0
"""A worker counts as live for this many seconds after its heartbeat."""


async def keep_heartbeat(folder: Path, journal: str) -> None:
    """Write a heartbeat every ``EVERY`` seconds until cancelled. A heartbeat shows that this process's event loop runs.

    If the folder cannot be written, no heartbeat is written. ``journal`` is the address of the worker's journal,
    without its password.
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


def fresh_heartbeats(folder: Path, journal: str) -> dict[int, float]:
    """Map the process id of each live worker on this host to the age of its last heartbeat in seconds."""
    prefix, now = _prefix(journal), time.time()
    found: dict[int, float] = {}
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError, ValueError):
            age = now - path.stat().st_mtime
            if age < FRESH:
                found[int(path.name.removeprefix(prefix))] = max(0.0, age)
            else:
                path.unlink(missing_ok=True)  # the worker was killed
    return found


def _prefix(journal: str) -> str:
    return f"worker-{blake2b(journal.encode(), digest_size=6).hexdigest()}-"
