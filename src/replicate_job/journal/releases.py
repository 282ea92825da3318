"""Repeats releases of claims that the database has not accepted.

Without the repetition, a process would keep claims on jobs that it does not run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from replicate_job.errors import JournalError
from replicate_job.journal.store import Store, Sync, Work

REPEATED = 1.0
"""Seconds between two tries."""


class Releases:
    """Repeats failed releases in the background until the database accepts them.

    A release must change nothing if it was committed before, or if the job has been claimed again since.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failed: deque[Work[object]] = deque()
        self._repeating: asyncio.Task[None] | None = None
        self._is_closed = False

    async def do(self, release: Work[object], sync: Sync | None = None) -> None:
        """Release now. Raises JournalError if the release fails, and then repeats it in the background."""
        try:
            await self._store.run(release, sync=sync)
        except JournalError:
            self.repeat(release)
            raise

    def repeat(self, release: Work[object]) -> None:
        """Release in the background."""
        if self._is_closed:
            return
        self._failed.append(release)
        if self._repeating is None:
            self._repeating = asyncio.create_task(self._repeat())

    async def _repeat(self) -> None:
        try:
            while self._failed:
                try:
                    await self._store.run(self._failed[0], sync="now")
                    self._failed.popleft()
                except JournalError:
                    self._failed.rotate(-1)  # the other releases must not wait for a release that the database refuses
                    await asyncio.sleep(REPEATED)
        finally:
            self._repeating = None

    async def close(self) -> None:
        """Stop repeating: the claims end with this process's lease."""
        self._is_closed = True
        if self._repeating:
            self._repeating.cancel()
            with suppress(asyncio.CancelledError):
                await self._repeating
