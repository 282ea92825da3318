"""``replicate-job results``: write the results of a fleet's batch."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from replicate_job.batches.results.record import encode, to_record
from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.status import NO_WORKER
from replicate_job.cli.streams import tell, write
from replicate_job.folders import working_folder
from replicate_job.quantity import count

if TYPE_CHECKING:
    from replicate_job.journal.postgres_fleet import FleetBatch, FleetTables


@click.command("results", epilog=examples("replicate-job results prompts-1f0c2ab91d77 --follow > results.jsonl"))
@click.argument("batch")
@click.option("--follow", is_flag=True, help="Go on writing until all rows have ended, or the batch is stopped.")
@common
async def command(shared: Common, batch: str, *, follow: bool) -> int:
    """Write a line of JSON for each ended row of a fleet's BATCH, as in the results file of `batch`."""
    async with shared.session(needs_token=False) as context:
        from replicate_job.fleet.parts import find_batch, open_tables  # noqa: PLC0415 - an optional extra
        from replicate_job.fleet.results import results  # noqa: PLC0415 - an optional extra

        tables = open_tables(context)
        found = await find_batch(tables, batch, context.api)
        if told := await _open_rows(tables, found, shared) if follow and not shared.quiet else "":
            tell(told)
        folder = working_folder()
        async with aclosing(results(context, tables, found, follow=follow)) as pages:
            async for page in pages:
                write(encode(to_record(result, folder) for result in page).decode())
        if not shared.quiet and (left := await _open_rows(tables, found, shared)) and left != told:
            tell(left)
    return SUCCEEDED


async def _open_rows(tables: FleetTables, batch: FleetBatch, shared: Common) -> str:
    """A line about how many rows have no result yet, and why. Empty if all rows have results."""
    counts = await tables.counts(batch.number)
    left = sum(each.rows for each in counts if not each.over)
    if not left:
        return ""
    current = await tables.batch(batch.number)
    if current and current.stopped:
        why = f"the batch is stopped: {current.stopped}"
    elif await tables.workers(batch.api):
        why = f"{shared.line('status', batch.id)} shows them"
    else:
        why = NO_WORKER
    return f"{count(left, 'row')} of {sum(each.rows for each in counts):,} not over yet; {why}"
