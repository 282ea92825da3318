from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicate_job.journal.sqlite import SQLiteJournal


class Now:
    """A clock that stands still until it is moved; ``set_by`` is by how much its wall clock was set."""

    def __init__(self) -> None:
        self.seconds, self.set_by, self.boot = 1_000_000.0, 0.0, "this boot"

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> float:
        return self.seconds

    def time(self) -> float:
        return self.seconds + self.set_by

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.db"


@pytest.fixture
async def journal(path: Path, now: Now) -> AsyncIterator[SQLiteJournal]:
    async with SQLiteJournal(path, clock=now) as journal:
        yield journal
