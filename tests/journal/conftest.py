from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicate_job.journal.sqlite import SQLiteJournal


class Now:
    """A clock in Unix seconds that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.db"


@pytest.fixture
async def journal(path: Path, now: Now) -> AsyncIterator[SQLiteJournal]:
    async with SQLiteJournal(path, now=now) as journal:
        yield journal
