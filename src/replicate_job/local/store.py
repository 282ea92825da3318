"""The server's state on disk: predictions, deployments and secrets, in one SQLite file."""

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
  removed INTEGER NOT NULL,        -- whether its data have been removed
  webhook TEXT NOT NULL,           -- the address for the event "completed"; empty for none
  body BLOB NOT NULL               -- the prediction object: as it was created; from its end on, as it ended
);
CREATE INDEX predictions_created_at ON predictions (created_at);
CREATE INDEX predictions_unfinished ON predictions (number) WHERE ended_at IS NULL;
CREATE INDEX predictions_kept ON predictions (ended_at) WHERE NOT removed;
CREATE TABLE deployments (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE secrets (name TEXT PRIMARY KEY, secret TEXT NOT NULL);
PRAGMA user_version = 2;
"""
_VERSION = 2
_EXAMPLES = """
CREATE TABLE IF NOT EXISTS examples (
  model TEXT PRIMARY KEY,          -- owner/name
  id TEXT NOT NULL,                -- a prediction that succeeded
  is_own INTEGER NOT NULL          -- whether its input is that of the model's example.json
)
"""


class PredictionRow(msgspec.Struct, frozen=True):
    """A stored prediction. ``body`` is the API's object as JSON, with the placeholder of ``local.origin``.

    ``ended_at`` is None until the prediction has ended. ``webhook`` is the address for the event ``completed``, or
    empty.
    """

    number: int
    id: str
    created_at: float
    ended_at: float | None
    webhook: str
    body: bytes


class Store:
    """A store below ``folder``. Only one process, and one thread of it at a time, may use it.

    A finished write survives the death of this process, but perhaps not a power cut. Raises LocalError if another
    process uses the folder, if it cannot be written, or if the file in it is not a store of this release.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # inputs and outputs are private
            self._lock = (folder / "lock").open("wb")
        except OSError as error:
            raise LocalError(f"{folder} cannot be written ({error.strerror}): name another --state") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise LocalError(f"{folder} is in use by another local server: stop it, or name another --state") from None
        file = folder / "server.db"
        try:
            self._connection = _connect(file)
        except sqlite3.DatabaseError as error:
            self._lock.close()
            raise LocalError(f"{file} cannot be read: {error}; move it away to begin anew") from None

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
        """Predictions whose end was never written, oldest first."""
        return list(self._rows("WHERE ended_at IS NULL ORDER BY number"))

    def due(self, ended_by: float, limit: int) -> list[PredictionRow]:
        """At most ``limit`` predictions that ended by ``ended_by`` and still have their data, the earliest first."""
        return list(self._rows("WHERE ended_at <= ? AND NOT removed ORDER BY ended_at LIMIT ?", ended_by, limit))

    def next_due(self) -> float | None:
        """The earliest end of the predictions that still have their data; None if there are none."""
        first_end = self._connection.execute("SELECT min(ended_at) FROM predictions WHERE NOT removed").fetchone()[0]
        return None if first_end is None else float(first_end)

    def remove(self, id: str, body: bytes) -> None:  # noqa: A002 - the API's own name
        """Record that a prediction's data are removed; ``body`` is the object without them."""
        self._connection.execute("UPDATE predictions SET body = ?, removed = 1 WHERE id = ?", (body, id))

        self._connection.execute("DELETE FROM examples WHERE id = ?", (id,))

    def delete(self, id: str) -> None:  # noqa: A002 - the API's own name
        self._connection.execute("DELETE FROM predictions WHERE id = ?", (id,))
        self._connection.execute("DELETE FROM examples WHERE id = ?", (id,))

    def note_example(self, model: str, id: str, *, is_own: bool) -> None:  # noqa: A002 - the API's own name
        """Make a prediction the example of its model (``owner/name``), if the model has no example yet.

        ``is_own`` means that the prediction has the input of the model's ``example.json``. Such a prediction also
        replaces an example without ``is_own``.
        """
        self._connection.execute(
            "INSERT INTO examples VALUES (?, ?, ?) ON CONFLICT (model) DO UPDATE SET id = excluded.id, is_own = 1"
            " WHERE excluded.is_own AND NOT examples.is_own",
            (model, id, is_own),
        )

    def example(self, model: str) -> str | None:
        """The id of the prediction that is the model's example; None if the model has no example."""
        row = self._connection.execute("SELECT id FROM examples WHERE model = ?", (model,)).fetchone()
        return row and str(row[0])

    def last(self) -> PredictionRow | None:
        """The newest prediction; None if there is none."""
        return next(self._rows("ORDER BY number DESC LIMIT 1"), None)

    def bounds(self, created_after: float | None, created_before: float | None) -> tuple[int, int]:
        """The range of the numbers of predictions created in [``created_after``, ``created_before``).

        The end of the range is not included. None means no limit.
        """
        newest = self._connection.execute("SELECT max(number) FROM predictions").fetchone()[0]
        low, high = 0, 0 if newest is None else int(newest) + 1
        if created_after is not None:
            low = self._first_since(created_after, high)
        if created_before is not None:
            high = max(self._first_since(created_before, high), low)
        return low, high

    def between(self, low: int, high: int) -> Iterator[PredictionRow]:
        """Predictions with numbers from ``low`` up to ``high`` (not included), newest first, read one by one."""
        return self._rows("WHERE number >= ? AND number < ? ORDER BY number DESC", low, high)

    def _first_since(self, at: float, default: int) -> int:
        query = "SELECT number FROM predictions WHERE created_at >= ? ORDER BY created_at, number LIMIT 1"
        row = self._connection.execute(query, (at,)).fetchone()
        return int(row[0]) if row else default

    def _rows(self, clauses: str, *values: object) -> Iterator[PredictionRow]:
        columns = "number, id, created_at, ended_at, webhook, body"
        query = f"SELECT {columns} FROM predictions {clauses}"  # noqa: S608 - the clauses are constants of this module
        return (PredictionRow(*row) for row in self._connection.execute(query, values))

    def deployments(self) -> list[bytes]:
        """The bodies of all deployments, as given to ``put_deployment``, the newest first."""
        return [body for (body,) in self._connection.execute("SELECT body FROM deployments ORDER BY number DESC")]

    def deployment(self, name: str) -> bytes | None:
        row = self._connection.execute("SELECT body FROM deployments WHERE name = ?", (name,)).fetchone()
        return row and bytes(row[0])

    def put_deployment(self, name: str, body: bytes) -> None:
        self._connection.execute(
            "INSERT INTO deployments (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
            (name, body),
        )

    def delete_deployment(self, name: str) -> None:
        self._connection.execute("DELETE FROM deployments WHERE name = ?", (name,))

    def secret(self, name: str) -> str:
        """The secret of that name: base64 of 24 random bytes, which are made at its first use."""
        new = b64encode(secrets.token_bytes(24)).decode()
        self._connection.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, new))
        return str(self._connection.execute("SELECT secret FROM secrets WHERE name = ?", (name,)).fetchone()[0])


def _connect(file: Path) -> sqlite3.Connection:
    """Open a store, and make its tables in a new file. Raises sqlite3.DatabaseError for any other kind of file."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # no sync at each write, because these predictions cost nothing
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"it is of version {version}, and this release knows {_VERSION}")
    connection.execute(_EXAMPLES)  # stores of earlier releases lack this table
