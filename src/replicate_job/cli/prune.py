"""``replicate-job prune``: delete old jobs from the journal, and old schemas from the cache."""

from __future__ import annotations

import time

import click

from replicate_job.cli.age import Age
from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.streams import tell
from replicate_job.flow.prune import prune
from replicate_job.journal.open import open_journal


@click.command(
    "prune",
    epilog=examples(
        "replicate-job prune --older-than 30d --dry-run",
        "replicate-job prune --older-than 1w --forget  # their keys may be used, and paid for, again",
    ),
)
@click.option("--older-than", type=Age(), required=True, metavar="AGE", help="The age of a job: 30d, 2w, 12h.")
@click.option(
    "--forget", is_flag=True, help="Delete their keys too. A job with the same key then runs, and is paid for, again."
)
@click.option("--dry-run", is_flag=True, help="Only count, and delete nothing.")
@common
async def command(shared: Common, older_than: int, *, forget: bool, dry_run: bool) -> int:
    """Delete the data of finished jobs: inputs, outputs as the API returned them, logs, and cached schemas.

    The key, prediction id and status of each job stay, so that its key never creates a second prediction. Saved files
    and unfinished jobs stay.
    """
    settings, before = shared.settings, time.time() - older_than
    async with open_journal(settings.journal) as journal:
        pruned = await prune(journal, settings.state, before, forget=forget, dry_run=dry_run)
    if not shared.quiet:
        done = "would be deleted" if dry_run else "deleted"
        left = "nothing is left of them" if forget else "their keys stay taken"
        tell(
            f"{pruned.jobs:,} jobs ({left}), {pruned.uploads:,} remembered uploads, {pruned.schemas:,} schemas: {done}"
        )
    return SUCCEEDED
