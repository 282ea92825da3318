"""PostgreSQL's tables as numbered migrations. A released migration is never edited.

The previous release must also work with the migrated tables, since both releases run while a fleet is updated.
Columns that no release reads any more are removed one release later.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import JournalError
from replicate_job.extras import advice

if TYPE_CHECKING:
    import psycopg

SCHEMA = "replicate_job"
"""The schema of all our tables, since the database may have other programs' tables too."""
_LOCK = 7_202_610_411
"""The number of the advisory lock for migrations."""


class QueueStep(msgspec.Struct, frozen=True):
    """Migrations of the queue engine's own tables: the engine's files with names after ``after``, up to ``until``."""

    after: str
    until: str

    def scripts(self) -> Iterator[bytes]:
        """The contents of the files, in order. Raises JournalError if the queue engine is missing or too old."""
        found = find_spec("procrastinate")
        if found is None or found.origin is None:
            raise JournalError(f"a journal in PostgreSQL needs a queue: {advice('fleet')}")
        files = sorted((Path(found.origin).parent / "sql" / "migrations").glob("*.sql"))
        chosen = [file for file in files if self.after < file.stem <= self.until]
        if not chosen or chosen[-1].stem != self.until:
            raise JournalError(f"the queue engine is older than this release: {advice('fleet')}")
        return (file.read_bytes() for file in chosen)


MIGRATIONS: tuple[str | QueueStep, ...] = (
    # 1. COLLATE "C" sorts by character code, as a search for keys with the same beginning requires.
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
    # 2. A fleet. batches.model is the model as resolved at the submission. batch_rows.chunk is the first line of the
    # row's task. batch_rows.job is deleted once the job is in the table jobs.
    """
    ALTER TABLE batches
        ADD COLUMN number  bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
        ADD COLUMN job     text,
        ADD COLUMN save    text,
        ADD COLUMN rate    double precision,
        ADD COLUMN secrets text NOT NULL DEFAULT '[]',
        ADD COLUMN model   text,
        ADD COLUMN stopped text NOT NULL DEFAULT '',
        ADD COLUMN over_at double precision;
    CREATE INDEX batches_of_fleets ON batches (api) WHERE job IS NOT NULL AND over_at IS NULL;
    CREATE TABLE batch_rows (
        batch   bigint NOT NULL REFERENCES batches (number) ON DELETE CASCADE,
        line    integer NOT NULL,
        chunk   integer NOT NULL,
        key     text COLLATE "C" NOT NULL,
        job     text,
        problem text NOT NULL DEFAULT '',
        PRIMARY KEY (batch, line)
    );
    CREATE INDEX batch_rows_by_key ON batch_rows (key);
    CREATE INDEX jobs_to_watch ON jobs (batch) WHERE state IN ('created', 'ended') AND batch IS NOT NULL;
    CREATE TABLE roles (
        role   text NOT NULL,
        api    text NOT NULL,
        holder text NOT NULL,
        until  double precision NOT NULL,
        PRIMARY KEY (role, api)
    );
    CREATE TABLE workers (
        holder      text PRIMARY KEY,
        api         text NOT NULL,
        host        text NOT NULL,
        pid         integer NOT NULL,
        concurrency integer NOT NULL,
        started_at  double precision NOT NULL,
        seen_at     double precision NOT NULL
    );
    CREATE TABLE fleets (
        api     text PRIMARY KEY,
        account text NOT NULL
    )
    """,
    # 3. The queue's tables.
    QueueStep(after="", until="03.04.00_50_post_add_retry_failed_job_procedure"),
    # 4. chain_step is the name of the job's step in a chain. A key does not show it: a row's name may contain "/" too.
    """
    ALTER TABLE jobs ADD COLUMN chain_step text
    """,
    # 5. A batch's depot of input files, and its submitter's trace. A depot is deleted when it is due and no batch needs
    # it any more (see ``FleetTables.due_depots``).
    """
    ALTER TABLE batches ADD COLUMN depot text, ADD COLUMN trace text NOT NULL DEFAULT '';
    CREATE TABLE depots (
        address text PRIMARY KEY,
        api     text NOT NULL,
        due_at  double precision NOT NULL
    )
    """,
    # 6. Jobs without a batch are polled by the watcher too.
    """
    CREATE INDEX jobs_alone_to_watch ON jobs (api) WHERE state = 'created' AND batch IS NULL
    """,
    # 7. Batches of a fleet with several predictions for each row. batches.plan says which predictions follow a row's
    # first, with which models. In a batch with a grid, batch_rows.line is the number of the combination, and
    # batch_rows.combination is the combination. An open row (is_open) may get another job; name is part of the keys of
    # all jobs of the row; due_at is the time from which the next job may be created. budgets has the USD that batches
    # with a cost limit have spent; holds has the amounts set aside for jobs.
    """
    ALTER TABLE batches ADD COLUMN plan text;
    ALTER TABLE batch_rows
        ADD COLUMN combination text,
        ADD COLUMN name        text COLLATE "C" NOT NULL DEFAULT '',
        ADD COLUMN reused      boolean NOT NULL DEFAULT false,
        ADD COLUMN is_open     boolean NOT NULL DEFAULT false,
        ADD COLUMN due_at      double precision;
    CREATE INDEX batch_rows_open ON batch_rows (batch, name) WHERE is_open;
    CREATE TABLE budgets (
        batch text PRIMARY KEY REFERENCES batches (id) ON DELETE CASCADE,
        spent text NOT NULL,
        trips bigint NOT NULL
    );
    CREATE TABLE holds (
        batch text NOT NULL REFERENCES budgets (batch) ON DELETE CASCADE,
        key   text COLLATE "C" NOT NULL,
        job   text NOT NULL,
        PRIMARY KEY (batch, key)
    );
    CREATE INDEX tasks_by_lock ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing')
    """,
    # 8. The moment by which a job's last create request had ended without an answer. It is NULL for a job that got its
    # prediction from an answer. Rows of earlier releases that have a prediction get the time of their last request.
    """
    ALTER TABLE jobs ADD COLUMN unanswered text;
    UPDATE jobs SET unanswered = last_sent WHERE prediction_id IS NOT NULL
    """,
)


def check_version(connection: psycopg.Connection[Any], name: str) -> None:
    """Raise JournalError for tables that are missing, too old, or of a newer release."""
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise JournalError(f"the journal {name} was migrated by a newer release of replicate-job: update this one")
    if version < len(MIGRATIONS):
        lacks = "has no tables yet" if version == 0 else "has the tables of an earlier release"
        raise JournalError(f"the journal {name} {lacks}: run `replicate-job migrate` for it, once")


def migrate(connection: psycopg.Connection[Any], name: str) -> tuple[int, int]:
    """Migrate the tables, and return the versions before and after. Raises JournalError for newer tables."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(connection)
        if version > len(MIGRATIONS):
            check_version(connection, name)
        if version == 0:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            connection.execute("CREATE TABLE migrations (number integer PRIMARY KEY, at timestamptz DEFAULT now())")
        for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
            for script in step.scripts() if isinstance(step, QueueStep) else (step,):
                connection.execute(script)
            connection.execute("INSERT INTO migrations (number) VALUES (%s)", (number,))
    return version, len(MIGRATIONS)


def _version(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("SELECT to_regclass(%s) AS it", (f"{SCHEMA}.migrations",)).fetchone()
    if found is None or found["it"] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(number), 0) AS number FROM migrations").fetchone()
    return int(row["number"]) if row else 0
