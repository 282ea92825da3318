"""Opens the journal in a file or a database."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from replicate_job.clock import Clock, SystemClock
from replicate_job.database import DatabaseURL
from replicate_job.errors import JournalError
from replicate_job.extras import advice
from replicate_job.journal.sql import SQLJournal


def open_journal(
    place: Path | DatabaseURL,
    *,
    clock: Clock = SystemClock(),  # noqa: B008 - it has no state
    token: str | None = None,
) -> SQLJournal:
    """Make the journal in ``place``. The journal is an async context manager.

    Raises JournalError if ``place`` is a database and the packages of the extra are not installed.
    """
    if isinstance(place, Path):
        from replicate_job.journal.sqlite import SQLiteJournal  # noqa: PLC0415 - only the database that is used

        return SQLiteJournal(place, clock=clock, token=token)
    check_installed()
    from replicate_job.journal.postgres import PostgresJournal  # noqa: PLC0415 - an extra

    return PostgresJournal(place, clock=clock, token=token)


def check_installed(what: str = "a journal in PostgreSQL") -> None:
    """Raise JournalError if the extra's packages are not installed. ``what`` is the feature that needs the packages."""
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra
    except ImportError:
        is_complete = False
    else:
        is_complete = find_spec("procrastinate") is not None
    if not is_complete:
        raise JournalError(f"{what} needs packages that are not here: {advice('fleet')}")
