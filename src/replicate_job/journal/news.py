"""Notifications of other processes' writes, so that a waiting process need not poll the journal."""

from __future__ import annotations

from typing import Protocol

import msgspec

from replicate_job.wire.prediction import Prediction


class News(Protocol):
    """Notifications about one name: a job's key, or a prediction's id.

    A notification about a key comes when the job's claim is released. A notification about an id comes when the
    prediction ends.

    ``is_live``: notifications arrive now. While it is False, a waiting process has to poll.
    """

    @property
    def is_live(self) -> bool: ...

    async def wait(self) -> None:
        """Wait for a notification. It is only a reason to read the journal, which may not have changed."""


class Seen(msgspec.Struct, frozen=True):
    """A prediction in the journal. ``is_watched``: a fleet's watcher polls it. ``end`` is None until it has ended."""

    is_watched: bool
    end: Prediction | None = None
