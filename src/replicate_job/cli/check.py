"""``replicate-job check``: test whether a job could run."""

from __future__ import annotations

import time

import click

from replicate_job.cli.exits import SUCCEEDED, UNREACHABLE
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, local
from replicate_job.cli.output import name_damaged
from replicate_job.cli.streams import write
from replicate_job.flow.lifecycle import UNFINISHED
from replicate_job.flow.reads import read


@click.command(
    "check",
    epilog=examples(
        "replicate-job check",
        "replicate-job check --local",
    ),
)
@local
@common
async def command(shared: Common) -> int:
    """Check the token, the network, the account and the journal, and stop at the first failed check."""
    async with shared.session() as context:
        write(f"token    {'set' if shared.settings.token else 'not needed'}\n")
        start = time.monotonic()
        account = await read(context, context.client.get_account)
        write(f"network  {context.client.base_url} answers in {(time.monotonic() - start) * 1000:.0f} ms\n")
        write(f"account  {account.username} ({account.type})\n")
        entries = await context.journal.entries()
        unfinished = sum(entry.state in UNFINISHED for entry in entries)
        write(f"journal  {shared.settings.journal}: {len(entries)} jobs, {unfinished} unfinished\n")
    name_damaged(context.journal)
    return UNREACHABLE if context.journal.damaged else SUCCEEDED
