"""News of jobs that other processes write: what a waiter need not ask for again and again."""

from __future__ import annotations

from typing import Protocol

import msgspec

from replicate_job.wire.prediction import Prediction


class News(Protocol):
    """News of one name: the key of a job that is let go, or the id of a prediction that has ended.

    ``is_live``: news come now. Otherwise there are none, and a waiter asks.
    """

    @property
    def is_live(self) -> bool: ...

    async def wait(self) -> None:
        """Wait for news: a reason to look, which may turn out to be none."""


class Seen(msgspec.Struct, frozen=True):
    """A prediction in the journal. ``is_watched``: a process of a fleet waits for its end; ``end`` once it is there."""

    is_watched: bool
    end: Prediction | None = None
