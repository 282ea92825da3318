"""The journal's tables, a numbered step at a time. A step that was released is never edited."""

from __future__ import annotations

import sqlite3

from replicate_job.errors import JournalError

MIGRATIONS = (
    # 1
    """
    CREATE TABLE jobs (
        seq           INTEGER PRIMARY KEY,
        key           TEXT NOT NULL UNIQUE,
        api           TEXT NOT NULL,
        job           TEXT NOT NULL,
        save          TEXT,
        state         TEXT NOT NULL,
        claimed_at    REAL NOT NULL,
        request       TEXT,
        request_hash  INTEGER,
        sends         INTEGER NOT NULL DEFAULT 0,
        first_sent    REAL,
        last_sent     REAL,
        prediction_id TEXT,
        prediction    TEXT,
        files         TEXT NOT NULL DEFAULT '[]',
        problem       TEXT NOT NULL DEFAULT '',
        fence         INTEGER NOT NULL DEFAULT 1,
        holder        TEXT,
        batch         TEXT
    ) STRICT;
    CREATE UNIQUE INDEX jobs_by_prediction ON jobs (prediction_id, api) WHERE prediction_id IS NOT NULL;
    CREATE INDEX jobs_by_request ON jobs (request_hash, last_sent) WHERE request_hash IS NOT NULL;
    CREATE INDEX jobs_unfinished ON jobs (seq) WHERE state NOT IN ('collected', 'refused');
    CREATE INDEX jobs_alone ON jobs (seq) WHERE batch IS NULL;
    CREATE TABLE holders (
        holder      TEXT PRIMARY KEY,
        lease_until REAL NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE batches (
        id         TEXT PRIMARY KEY,
        api        TEXT NOT NULL,
        source     TEXT NOT NULL,
        command    TEXT NOT NULL,
        started_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE uploads (
        api        TEXT NOT NULL,
        sha256     TEXT NOT NULL,
        url        TEXT NOT NULL,
        expires_at REAL,
        PRIMARY KEY (api, sha256)
    ) STRICT, WITHOUT ROWID;
    """,
)


def migrate(database: sqlite3.Connection, path: str) -> None:
    """Bring the tables up to date. Raises JournalError for a journal that a newer release wrote, or is not ours."""
    version = _version(database)
    if version > len(MIGRATIONS):
        raise JournalError(f"the journal {path} was written by a newer release of replicate-job: update this one")
    if version == len(MIGRATIONS):
        return
    database.execute("BEGIN IMMEDIATE")
    with database:
        # Another process may have done it while this one waited for the lock.
        if not _version(database) and database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise JournalError(f"{path} is a database of something else: name another file with --journal")
        for number, script in enumerate(MIGRATIONS[_version(database) :], start=_version(database) + 1):
            for statement in script.split(";"):
                if statement.strip():
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {number}")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])
