"""SQLite's tables as numbered migrations. A released migration is never edited."""

from __future__ import annotations

import sqlite3

from replicate_job.errors import JournalError
from replicate_job.journal.entry import decode_job
from replicate_job.journal.fingerprints import print_job

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
    # 2: checks of the values that a state implies; request times as moments; fingerprints, which outlast the requests
    """
    CREATE TABLE facts (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO facts VALUES ('key', randomblob(32));
    CREATE TABLE jobs_2 (
        seq           INTEGER PRIMARY KEY,
        key           TEXT NOT NULL UNIQUE,
        api           TEXT NOT NULL,
        job           TEXT NOT NULL,
        job_print     TEXT,
        save          TEXT,
        state         TEXT NOT NULL,
        claimed_at    REAL NOT NULL,
        request       TEXT,
        request_hash  INTEGER,
        shown_hash    INTEGER,
        sends         INTEGER NOT NULL DEFAULT 0,
        first_sent    TEXT,
        last_sent     TEXT,
        sent_at       REAL,
        token         TEXT,
        -- No IN here: with more than two values, SQLite makes a table of them in each statement.
        prediction_id TEXT CHECK (prediction_id IS NOT NULL
                                  OR state != 'created' AND state != 'ended' AND state != 'collected'),
        status        TEXT CHECK (state != 'ended' AND state != 'collected' OR status IS NOT NULL AND
                                  (status = 'succeeded' OR status = 'failed' OR status = 'canceled'
                                   OR status = 'aborted')),
        prediction    TEXT,
        files         TEXT NOT NULL DEFAULT '[]',
        problem       TEXT NOT NULL DEFAULT '',
        fence         INTEGER NOT NULL DEFAULT 1,
        holder        TEXT,
        batch         TEXT
    ) STRICT;
    INSERT INTO jobs_2 SELECT
        seq, key, api, job, NULL, save,
        CASE
            WHEN state NOT IN ('created', 'ended', 'collected') THEN state
            WHEN prediction_id IS NULL THEN 'uncertain'
            WHEN iif(json_valid(prediction), json_extract(prediction, '$.status'), '')
                IN ('succeeded', 'failed', 'canceled', 'aborted') THEN state
            ELSE 'created'
        END,
        claimed_at, request, request_hash, NULL, sends,
        CASE WHEN first_sent IS NOT NULL THEN json_array(first_sent) END,
        CASE WHEN last_sent IS NOT NULL THEN json_array(last_sent) END,
        last_sent, NULL, prediction_id, iif(json_valid(prediction), json_extract(prediction, '$.status'), NULL),
        prediction, files, problem, fence, holder, batch
    FROM jobs;
    DROP TABLE jobs;
    ALTER TABLE jobs_2 RENAME TO jobs;
    CREATE UNIQUE INDEX jobs_by_prediction ON jobs (prediction_id, api) WHERE prediction_id IS NOT NULL;
    CREATE INDEX jobs_by_shown ON jobs (shown_hash, sent_at) WHERE shown_hash IS NOT NULL;
    CREATE INDEX jobs_unfinished ON jobs (seq) WHERE state NOT IN ('collected', 'refused');
    CREATE INDEX jobs_alone ON jobs (seq) WHERE batch IS NULL;
    DROP TABLE holders;
    CREATE TABLE holders (
        holder      TEXT PRIMARY KEY,
        lease_until REAL NOT NULL,
        boot_until  REAL NOT NULL,
        process     TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE accounts (
        token   TEXT NOT NULL,
        api     TEXT NOT NULL,
        account TEXT NOT NULL,
        PRIMARY KEY (token, api)
    ) STRICT, WITHOUT ROWID;
    """,
    # 3: a fingerprint for each job
    """
    UPDATE jobs SET job_print = print_job((SELECT value FROM facts WHERE name = 'key'), job) WHERE job_print IS NULL
    """,
    # 4: the rate limit of an account, which processes share
    """
    CREATE TABLE rates (
        token TEXT NOT NULL,
        api   TEXT NOT NULL,
        kind  TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (token, api, kind)
    ) STRICT, WITHOUT ROWID
    """,
    # 5: a random mark of the latest claim, which shows whose claim was committed if the commit got no answer
    """
    ALTER TABLE jobs ADD COLUMN claim TEXT
    """,
    # 6: the name of the job's step in a chain. The key does not show the step: a row's name may contain "/" too
    """
    ALTER TABLE jobs ADD COLUMN chain_step TEXT
    """,
    # 7: the moment by which the last create request had ended without an answer. It is NULL for a job that got its
    # prediction from an answer. Rows of earlier releases that have a prediction get the time of their last request.
    """
    ALTER TABLE jobs ADD COLUMN unanswered TEXT;
    UPDATE jobs SET unanswered = last_sent WHERE prediction_id IS NOT NULL
    """,
)


def migrate(database: sqlite3.Connection, path: str) -> None:
    """Migrate the tables. Raises JournalError for a newer release's journal, or for another program's file."""
    version = _version(database)
    if version > len(MIGRATIONS):
        raise JournalError(f"the journal {path} was written by a newer release of replicate-job: update this one")
    if version == len(MIGRATIONS):
        return
    database.create_function("print_job", 2, _print_job, deterministic=True)
    database.execute("BEGIN IMMEDIATE")
    with database:
        # Another process may have migrated the tables while this process waited for the lock.
        if not _version(database) and database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise JournalError(
                f"{path} is a database of something else: name another file with --journal (in Python journal=)"
            )
        for number, script in enumerate(MIGRATIONS[_version(database) :], start=_version(database) + 1):
            for statement in script.split(";"):
                if statement.strip():
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {number}")


def _print_job(key: bytes, job: str) -> str | None:
    """The fingerprint of a stored job. None if its row is damaged."""
    try:
        return print_job(key, decode_job(job))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])
