"""``replicate-job status``: show the progress of a fleet's batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import print_json
from replicate_job.cli.streams import write
from replicate_job.quantity import count, duration, money

if TYPE_CHECKING:
    from replicate_job.fleet.status import BatchStatus


WAITS = ": unfinished rows wait for one, `replicate-job worker`"
NO_WORKER = f"no worker is alive{WAITS}"
"""The end of a line about an unfinished batch while no worker is alive."""


@click.command("status", epilog=examples("replicate-job status", "replicate-job status prompts-1f0c2ab91d77 --json"))
@click.argument("batch", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object for one batch, a list for all.")
@common
async def command(shared: Common, batch: str | None, *, as_json: bool) -> int:
    """Show a fleet's BATCH: its rows by state, its live workers, its rate of creation, and its errors.

    Without BATCH, show all batches of the journal, newest first. No request is sent to the API.
    """
    async with shared.session(needs_token=False) as context:
        from replicate_job.fleet.parts import find_batch, open_tables  # noqa: PLC0415 - an optional extra
        from replicate_job.fleet.status import status_of  # noqa: PLC0415 - an optional extra

        tables = open_tables(context)
        names = [batch] if batch else await tables.names(context.api)
        found = [await status_of(context, tables, await find_batch(tables, name, context.api)) for name in names]
    if as_json:
        print_json(found[0] if batch else found)
        return SUCCEEDED
    if not found and not shared.quiet:
        write("no batches yet: `replicate-job batch ... --fleet` submits one\n")
    for status in found:
        write("\n".join(_lines(status)) + "\n")
    return SUCCEEDED


def _lines(status: BatchStatus) -> list[str]:
    states = ("waiting", "running", "saving", "succeeded", "failed", "wrong")
    numbers = ", ".join(f"{number:,} {name}" for name in states if (number := getattr(status, name)))
    lines = [f"{status.id}  {status.model}", f"  {count(status.rows, 'row')}: {numbers}"]
    if status.stopped:
        lines.append(f"  stopped: {status.stopped}")
    if status.spent is not None:
        aside = f", {money(status.set_aside)} set aside for what is under way or uncertain" if status.set_aside else ""
        lines.append(f"  {money(status.spent)} spent{aside}; the limit is {money(status.max_cost or 0)}")
    if not status.is_over:
        limit = "no limit" if status.rate is None else f"{status.rate:g} a minute allowed"
        slowed = ", slowed down by 429 responses" if status.throttled else ""
        lines.append(f"  {status.created_last_minute:,} created in the last minute ({limit}{slowed})")
        is_at_rest = status.stopped and not status.running + status.saving
        lines.append(f"  {count(len(status.workers), 'worker')} alive{'' if status.workers or is_at_rest else WAITS}")
        if status.oldest is not None:
            lines.append(f"  the oldest row under way: {duration(status.oldest)}")
    lines += [f"  {number:,} x {problem}" for problem, number in status.errors.items()]
    return lines
