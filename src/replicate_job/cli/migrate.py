"""``replicate-job migrate``: create or update the tables of a journal in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.streams import tell
from replicate_job.journal.open import check_installed, open_journal


@click.command(
    "migrate",
    epilog=examples(
        "replicate-job migrate",
        "replicate-job migrate --journal postgresql://me@db.internal/jobs",
    ),
)
@common
async def command(shared: Common) -> int:
    """Create the tables of a journal in PostgreSQL, or update them to this release. Safe to run any number of times.

    Run it once before a new release starts. Processes of the old release keep working with the new tables. A journal in
    a file needs no migration.
    """
    place = shared.settings.journal
    if isinstance(place, Path):
        async with open_journal(place) as journal:
            await journal.entries(1)
        done = "a file, which is brought up to date whenever it is opened"
    else:
        check_installed()
        from replicate_job.journal.postgres import migrate_database  # noqa: PLC0415 - an optional extra

        before, now = await migrate_database(place)
        done = f"version {now} of the tables" + (", as before" if before == now else f", it was {before}")
    if not shared.quiet:
        tell(f"{place}: {done}")
    return SUCCEEDED
