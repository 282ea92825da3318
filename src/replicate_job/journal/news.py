"""News of other processes' writes, so that a waiting process need not poll the journal."""

from __future__ import annotations

from typing import Protocol

import msgspec

from replicate_job.wire.prediction import Prediction


class News(Protocol):
    """News of one name: a job's key, when its claim is released, or a prediction's id, when it has ended.

    ``is_live``: news arrive now. While it is False, a waiting process has to poll.
    """

    @property
    def is_live(self) -> bool: ...

    async def wait(self) -> None:
        """Wait for news. News are only a reason to look: there may be nothing new."""


class Seen(msgspec.Struct, frozen=True):
    """A prediction in the journal. ``is_watched``: a fleet's watcher polls it. ``end`` is its end, if it has ended."""

    is_watched: bool
    end: Prediction | None = None
