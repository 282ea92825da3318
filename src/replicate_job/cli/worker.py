"""``replicate-job worker``: run a worker of a fleet."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from replicate_job.cli.exits import FAILED, INTERRUPTED, SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, fetching, health_port, healthy
from replicate_job.cli.streams import tell
from replicate_job.errors import JournalError
from replicate_job.open_files import allow_files
from replicate_job.quantity import MOST, count

if TYPE_CHECKING:
    from replicate_job.health import Address
    from replicate_job.journal.postgres_fleet import FleetTables


@click.command(
    "worker",
    epilog=examples(
        "replicate-job worker --journal postgresql://me@db.internal/jobs",
        "replicate-job worker --check",
    ),
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, MOST),
    metavar="N",
    help="How many tasks of 20 rows run at the same time; default 6.",
)
@click.option("--check", is_flag=True, help="Only check for a live worker on this host: exit code 0, else 1 or 3.")
@health_port
@fetching
@common
async def command(shared: Common, *, concurrency: int | None, check: bool, health_port: Address | None) -> int:
    """Run the rows that `batch --fleet` submits to a journal in PostgreSQL, until SIGTERM or Ctrl-C.

    Any number of workers share the rows. If one dies, the others take over its rows within seconds. A stopped worker
    begins nothing more, and has 20 s to finish the requests that it sent and the outputs that it is keeping. Its
    predictions run on, and another worker, even one that starts later, collects them.
    """
    if check:
        return await _check(shared)
    shared.terminated.farewell = (
        "stopping, once requests that were sent and outputs that are being kept are finished (20 s at most); "
        "Ctrl-C leaves at once"
    )
    allow_files()  # each create request may hold a connection
    async with shared.session() as context:
        from replicate_job.fleet.parts import open_tables  # noqa: PLC0415 - an optional extra

        tables = open_tables(context)
        from replicate_job.fleet.worker import CONCURRENCY, work  # noqa: PLC0415 - an optional extra

        if not shared.quiet:
            tell(f"a worker for {context.client.base_url}, with the journal {shared.settings.journal}")
        try:
            async with healthy(health_port, context):
                await work(context, concurrency or CONCURRENCY)
        except asyncio.CancelledError:
            if not shared.quiet:
                await _tell_left(tables, context.api)
            if not shared.terminated.came:
                return INTERRUPTED
    return SUCCEEDED


async def _tell_left(tables: FleetTables, api: str) -> None:
    """Write how many predictions wait for the next worker, if this worker was the last."""
    with suppress(JournalError):
        if not await tables.workers(api) and (left := await tables.under_watch(api)):
            tell(f"{count(left, 'prediction')} left to the next worker, as no other is alive: nothing of them is lost")


async def _check(shared: Common) -> int:
    """Show which workers of this host are alive.

    The journal says so, or the workers' heartbeat files if the journal is unreachable. Then JournalError is raised if
    there is no fresh heartbeat file.
    """
    try:
        async with shared.session() as context:
            from replicate_job.fleet.parts import open_tables  # noqa: PLC0415 - an optional extra
            from replicate_job.fleet.status import workers_here  # noqa: PLC0415 - an optional extra

            found = {worker.pid: worker.age for worker in await workers_here(open_tables(context), context.api)}
    except JournalError as error:
        from replicate_job.fleet.heartbeat_file import fresh_heartbeats  # noqa: PLC0415 - only while the journal is unreachable

        settings = shared.settings
        found = fresh_heartbeats(settings.state, str(settings.journal))
        if not found:
            raise
        if not shared.quiet:
            tell(f"workers wait until the database is back: {error}")
    if not shared.quiet:
        ages = ", ".join(f"process {pid} was seen {age:.0f} s ago" for pid, age in found.items())
        tell(ages or "no worker is alive on this host")
    return SUCCEEDED if found else FAILED
