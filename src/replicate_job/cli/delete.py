"""``replicate-job delete``: delete jobs from the journal."""

from __future__ import annotations

from collections.abc import Sequence

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.streams import tell
from replicate_job.errors import JobError
from replicate_job.journal.entry import Entry
from replicate_job.journal.open import open_journal
from replicate_job.quantity import count
from replicate_job.wire.target import read_prediction_id


@click.command(
    "delete",
    epilog=examples("replicate-job delete gm3qorzdhgbfurvjtvhg6dckhu", "replicate-job delete order-17 order-18"),
)
@click.argument("names", nargs=-1, required=True, metavar="ID|KEY...")
@common
async def command(shared: Common, names: tuple[str, ...]) -> int:
    """Delete finished jobs from the journal, by the prediction's ID or the job's KEY.

    The inputs and the responses are deleted. The files of outputs stay. So does the key: it never creates a second
    prediction.
    """
    async with open_journal(shared.settings.journal) as journal:
        entries = _choose(names, await journal.entries())
        for entry in entries:
            await journal.forget(entry.key)
    if not shared.quiet:
        files = sum(len(entry.files) for entry in entries)
        tell(
            f"deleted {count(len(entries), 'job')}" + (f"; their outputs stay: {count(files, 'file')}" if files else "")
        )
    return SUCCEEDED


def _choose(names: Sequence[str], entries: Sequence[Entry]) -> list[Entry]:
    """The jobs with these ids or keys. Raises JobError for unknown names, before any job is deleted."""
    by_name = {name: entry for entry in reversed(entries) for name in (entry.prediction_id, entry.key) if name}
    names = [name if name in by_name else read_prediction_id(name) for name in names]
    if unknown := [name for name in names if name not in by_name]:
        raise JobError(f"no job {', '.join(unknown)}: `replicate-job list` shows all jobs")
    return list({by_name[name].key: by_name[name] for name in names}.values())
