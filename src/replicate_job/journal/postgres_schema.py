"""PostgreSQL's tables, a numbered step at a time. A step that was released is never edited.

A release only adds what the one before can live with: processes of both run side by side while a fleet is updated. What
no release reads any more goes one release later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_job.errors import JournalError

if TYPE_CHECKING:
    import psycopg

SCHEMA = "replicate_job"
"""The schema of all tables: the database may hold others' tables too."""
_LOCK = 7_202_610_411
"""An advisory lock that is only this package's."""

MIGRATIONS = (
    # 1. COLLATE "C": keys are searched by how they begin, in the order of their characters.
    """
    CREATE TABLE facts (
        name  text PRIMARY KEY,
        value bytea NOT NULL
    );
    INSERT INTO facts VALUES ('key', sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
    CREATE TABLE jobs (
        seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key           text COLLATE "C" NOT NULL UNIQUE,
        api           text NOT NULL,
        job           text NOT NULL,
        job_print     text,
        save          text,
        state         text NOT NULL,
        claimed_at    double precision NOT NULL,
        request       text,
        request_hash  bigint,
        shown_hash    bigint,
        sends         integer NOT NULL DEFAULT 0,
        first_sent    text,
        last_sent     text,
        sent_at       double precision,
        token         text,
        prediction_id text CHECK (prediction_id IS NOT NULL OR state NOT IN ('created', 'ended', 'collected')),
        status        text CHECK (state NOT IN ('ended', 'collected') OR status IS NOT NULL AND
                                  status IN ('succeeded', 'failed', 'canceled', 'aborted')),
        prediction    text,
        files         text NOT NULL DEFAULT '[]',
        problem       text NOT NULL DEFAULT '',
        fence         bigint NOT NULL DEFAULT 1,
        holder        text,
        claim         text,
        batch         text
    );
    CREATE UNIQUE INDEX jobs_by_prediction ON jobs (prediction_id, api) WHERE prediction_id IS NOT NULL;
    CREATE INDEX jobs_by_shown ON jobs (shown_hash, sent_at) WHERE shown_hash IS NOT NULL;
    CREATE INDEX jobs_unfinished ON jobs (seq) WHERE state NOT IN ('collected', 'refused');
    CREATE INDEX jobs_alone ON jobs (seq) WHERE batch IS NULL;
    CREATE TABLE holders (
        holder      text PRIMARY KEY,
        lease_until double precision NOT NULL,
        process     text NOT NULL
    );
    CREATE TABLE batches (
        id         text PRIMARY KEY,
        api        text NOT NULL,
        source     text NOT NULL,
        command    text NOT NULL,
        started_at double precision NOT NULL
    );
    CREATE TABLE uploads (
        api        text NOT NULL,
        sha256     text NOT NULL,
        url        text NOT NULL,
        expires_at double precision,
        PRIMARY KEY (api, sha256)
    );
    CREATE TABLE accounts (
        token   text NOT NULL,
        api     text NOT NULL,
        account text NOT NULL,
        PRIMARY KEY (token, api)
    );
    CREATE TABLE rates (
        token text NOT NULL,
        api   text NOT NULL,
        kind  text NOT NULL,
        state text NOT NULL,
        PRIMARY KEY (token, api, kind)
    )
    """,
)


def check_version(connection: psycopg.Connection[Any], name: str) -> None:
    """Raise JournalError for tables that are not there, too old, or of a newer release."""
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise JournalError(f"the journal {name} was migrated by a newer release of replicate-job: update this one")
    if version < len(MIGRATIONS):
        lacks = "has no tables yet" if version == 0 else "has the tables of an earlier release"
        raise JournalError(f"the journal {name} {lacks}: run `replicate-job migrate` for it, once")


def migrate(connection: psycopg.Connection[Any], name: str) -> tuple[int, int]:
    """Bring the tables up to date, and return the versions before and now. Raises JournalError for newer ones."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(connection)
        if version > len(MIGRATIONS):
            check_version(connection, name)
        if version == 0:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            connection.execute("CREATE TABLE migrations (number integer PRIMARY KEY, at timestamptz DEFAULT now())")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            connection.execute(script)
            connection.execute("INSERT INTO migrations (number) VALUES (%s)", (number,))
    return version, len(MIGRATIONS)


def _version(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("SELECT to_regclass(%s) AS it", (f"{SCHEMA}.migrations",)).fetchone()
    if found is None or found["it"] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(number), 0) AS number FROM migrations").fetchone()
    return int(row["number"]) if row else 0
