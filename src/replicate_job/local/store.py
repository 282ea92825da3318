"""What outlives the server: predictions, deployments and secrets, in one SQLite file."""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replicate_job.errors import LocalError

_SCHEMA = """
CREATE TABLE predictions (
  number INTEGER PRIMARY KEY,      -- in order of creation
  id TEXT NOT NULL UNIQUE,
  created_at REAL NOT NULL,        -- Unix time; rises with the number
  ended_at REAL,
  removed INTEGER NOT NULL,        -- whether its data are, some time after its end
  webhook TEXT NOT NULL,           -- who is told of the end; empty for nobody
  body BLOB NOT NULL               -- the prediction object: as created until it ended, then as ended
);
CREATE INDEX predictions_created_at ON predictions (created_at);
CREATE INDEX predictions_unfinished ON predictions (number) WHERE ended_at IS NULL;
CREATE INDEX predictions_kept ON predictions (ended_at) WHERE NOT removed;
CREATE TABLE deployments (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE secrets (name TEXT PRIMARY KEY, secret TEXT NOT NULL);
PRAGMA user_version = 2;
"""
_VERSION = 2


class PredictionRow(msgspec.Struct, frozen=True):
    """A stored prediction. ``body`` is the API's object as JSON, with addresses as in ``local.origin``."""

    number: int
    id: str
    created_at: float
    ended_at: float | None
    webhook: str
    body: bytes


class Store:
    """Works below ``folder``, for one process at a time. Not for use by several threads.

    A write is on its way to the disk when it returns: it survives this process, whatever ends it.
    Raises LocalError where another process has the folder, it cannot be written, or what is in it is not from here.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what people ask of models is theirs
            self._lock = (folder / "lock").open("wb")
        except OSError as error:
            raise LocalError(f"{folder} cannot be written ({error.strerror}): name another --state") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise LocalError(f"{folder} is in use by another local server: stop it, or name another --state") from None
        place = folder / "server.db"
        try:
            self._connection = _connect(place)
        except sqlite3.DatabaseError as error:
            self._lock.close()
            raise LocalError(f"{place} cannot be read: {error}; move it away to begin anew") from None

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    def add(self, row: PredictionRow) -> None:
        values = msgspec.structs.astuple(row)
        self._connection.execute("INSERT INTO predictions VALUES (?, ?, ?, ?, 0, ?, ?)", values)

    def end(self, id: str, body: bytes, at: float) -> None:  # noqa: A002 - the API's own name
        self._connection.execute("UPDATE predictions SET body = ?, ended_at = ? WHERE id = ?", (body, at, id))

    def get(self, id: str) -> PredictionRow | None:  # noqa: A002 - the API's own name
        return next(self._rows("WHERE id = ?", id), None)

    def unfinished(self) -> list[PredictionRow]:
        """Those whose end was never written, oldest first."""
        return list(self._rows("WHERE ended_at IS NULL ORDER BY number"))

    def due(self, ended_by: float, most: int) -> list[PredictionRow]:
        """Those that had ended by then and have their data still, at most so many, the first to end first."""
        return list(self._rows("WHERE ended_at <= ? AND NOT removed ORDER BY ended_at LIMIT ?", ended_by, most))

    def next_due(self) -> float | None:
        """When the first of those that have their data ended."""
        found = self._connection.execute("SELECT min(ended_at) FROM predictions WHERE NOT removed").fetchone()[0]
        return None if found is None else float(found)

    def remove(self, id: str, body: bytes) -> None:  # noqa: A002 - the API's own name
        """Note that its data are removed: ``body`` is what is left."""
        self._connection.execute("UPDATE predictions SET body = ?, removed = 1 WHERE id = ?", (body, id))

    def delete(self, id: str) -> None:  # noqa: A002 - the API's own name
        self._connection.execute("DELETE FROM predictions WHERE id = ?", (id,))

    def last(self) -> PredictionRow | None:
        """The newest."""
        return next(self._rows("ORDER BY number DESC LIMIT 1"), None)

    def bounds(self, created_after: float | None, created_before: float | None) -> tuple[int, int]:
        """The numbers, first and after the last, of what was created at or after the one time, before the other."""
        newest = self._connection.execute("SELECT max(number) FROM predictions").fetchone()[0]
        low, high = 0, 0 if newest is None else int(newest) + 1
        if created_after is not None:
            low = self._first_since(created_after, high)
        if created_before is not None:
            high = max(self._first_since(created_before, high), low)
        return low, high

    def between(self, low: int, high: int) -> Iterator[PredictionRow]:
        """Those with numbers from ``low`` up to ``high`` (not included), newest first, read one by one."""
        return self._rows("WHERE number >= ? AND number < ? ORDER BY number DESC", low, high)

    def _first_since(self, at: float, default: int) -> int:
        query = "SELECT number FROM predictions WHERE created_at >= ? ORDER BY created_at, number LIMIT 1"
        found = self._connection.execute(query, (at,)).fetchone()
        return int(found[0]) if found else default

    def _rows(self, rest: str, *values: object) -> Iterator[PredictionRow]:
        columns = "number, id, created_at, ended_at, webhook, body"
        query = f"SELECT {columns} FROM predictions {rest}"  # noqa: S608 - written here, no word from outside
        return (PredictionRow(*found) for found in self._connection.execute(query, values))

    def deployments(self) -> list[bytes]:
        """All of them, the newest first, as ``put_deployment`` got them."""
        return [body for (body,) in self._connection.execute("SELECT body FROM deployments ORDER BY number DESC")]

    def deployment(self, name: str) -> bytes | None:
        found = self._connection.execute("SELECT body FROM deployments WHERE name = ?", (name,)).fetchone()
        return found and bytes(found[0])

    def put_deployment(self, name: str, body: bytes) -> None:
        self._connection.execute(
            "INSERT INTO deployments (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
            (name, body),
        )

    def delete_deployment(self, name: str) -> None:
        self._connection.execute("DELETE FROM deployments WHERE name = ?", (name,))

    def secret(self, name: str) -> str:
        """One that is made at its first use: base64 of 24 random bytes."""
        made = b64encode(secrets.token_bytes(24)).decode()
        self._connection.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, made))
        return str(self._connection.execute("SELECT secret FROM secrets WHERE name = ?", (name,)).fetchone()[0])


def _connect(place: Path) -> sqlite3.Connection:
    """To a store that has its tables. Raises sqlite3.DatabaseError for what is no store of this release."""
    connection = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    elif found != _VERSION:
        raise sqlite3.DatabaseError(f"it is of version {found}, and this release knows {_VERSION}")
