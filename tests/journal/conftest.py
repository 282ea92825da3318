from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.postgres import Postgres

from replicate_job.database import DatabaseURL
from replicate_job.journal.postgres import PostgresJournal
from replicate_job.journal.sql import SQLJournal
from replicate_job.journal.sqlite import SQLiteJournal


class Now:
    """A clock that stands still until it is moved. ``set_by`` is how far its wall time was moved."""

    def __init__(self) -> None:
        self._seconds, self.set_by, self.boot = 1_000_000.0, 0.0, "this boot"
        self.moved: Callable[[float], None] = lambda _: None

    @property
    def seconds(self) -> float:
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.moved(seconds - self._seconds)
        self._seconds = seconds

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> float:
        return self.seconds

    def time(self) -> float:
        return self.seconds + self.set_by

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Place(Protocol):
    """The file or database of a journal. Each ``open`` acts as another process.

    ``away`` makes the database unusable during a block. With the options ``impatient`` a journal soon gives up then.
    """

    impatient: dict[str, Any]

    @property
    def address(self) -> str: ...
    def open(self, **options: Any) -> SQLJournal: ...
    def holders(self) -> list[str]: ...
    def dump(self) -> str: ...
    def away(self) -> AbstractContextManager[None]: ...


class FilePlace:
    impatient: dict[str, Any] = {"busy_timeout": 0.05}  # noqa: RUF012 - never changed

    def __init__(self, path: Path) -> None:
        self._path, self.address = path, str(path)

    def open(self, **options: Any) -> SQLJournal:
        return SQLiteJournal(self._path, **options)

    def holders(self) -> list[str]:
        with closing(sqlite3.connect(self._path)) as database:
            return [row[0] for row in database.execute("SELECT holder FROM holders")]

    def dump(self) -> str:
        with closing(sqlite3.connect(self._path)) as database:
            return "\n".join(database.iterdump())

    @contextmanager
    def away(self) -> Iterator[None]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield


class DatabasePlace:
    """A journal in a database. Its leases end by the server's clock, so tests move the leases in place of the clock."""

    impatient: dict[str, Any] = {"patience": 0.05}  # noqa: RUF012 - never changed

    def __init__(self, server: Postgres, name: str, now: Now) -> None:
        self.server, self.name, self.address = server, name, server.url(name)
        now.moved = self._move

    def open(self, **options: Any) -> SQLJournal:
        return PostgresJournal(DatabaseURL(self.server.url(self.name)), **options)

    def execute(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        return self.server.execute(statement, *values, database=self.name)

    def holders(self) -> list[str]:
        return [row["holder"] for row in self.execute("SELECT holder FROM replicate_job.holders")]

    def dump(self) -> str:
        tables = ("jobs", "holders", "batches", "uploads", "accounts", "rates")
        return "\n".join(str(self.execute(f"SELECT * FROM replicate_job.{table}")) for table in tables)  # noqa: S608 - the names are the test's own

    @contextmanager
    def away(self) -> Iterator[None]:
        self.server.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self.server.cut(self.name)
        try:
            yield
        finally:
            self.server.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    def _move(self, seconds: float) -> None:
        self.execute("UPDATE replicate_job.holders SET lease_until = lease_until - %s", seconds)


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.db"


@pytest.fixture
def database(postgres: Postgres, now: Now) -> Iterator[DatabasePlace]:
    name = postgres.create()
    yield DatabasePlace(postgres, name, now)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def place(request: pytest.FixtureRequest, path: Path) -> Place:
    return FilePlace(path) if request.param == "sqlite" else request.getfixturevalue("database")


@pytest.fixture
async def journal(path: Path, now: Now) -> AsyncIterator[SQLiteJournal]:
    async with SQLiteJournal(path, clock=now) as journal:
        yield journal
