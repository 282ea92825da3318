"""``replicate-job worker``: one of a fleet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from replicate_job.cli.exits import FAILED, INTERRUPTED, SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, fetching, health_port, healthy
from replicate_job.cli.streams import tell

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
@click.option("--concurrency", type=click.IntRange(1), metavar="N", help="Tasks of 20 rows at once; default 6.")
@click.option("--check", is_flag=True, help="Do nothing but say whether a worker of this host lives: exit code 0 or 1.")
@health_port
@fetching
@common
async def command(shared: Common, *, concurrency: int | None, check: bool, health_port: Address | None) -> int:
    """Create, watch and collect what `batch --fleet` submits to the journal in PostgreSQL, until SIGTERM or Ctrl-C.

    Any number of workers share the work. One that dies is replaced by the others within seconds; one that is stopped
    finishes what it has begun, within 20 s.
    """
    shared.terminated.farewell = "stopping, once what was begun is finished; Ctrl-C leaves at once"
    async with shared.session() as context:
        from replicate_job.fleet.parts import open_tables  # noqa: PLC0415 - an extra

        tables = open_tables(context)
        if check:
            return await _check(tables, context.api, quiet=shared.quiet)
        from replicate_job.fleet.worker import CONCURRENCY, work  # noqa: PLC0415 - an extra

        if not shared.quiet:
            tell(f"a worker for {context.client.base_url}, with the journal {shared.settings.journal}")
        try:
            async with healthy(health_port, context):
                await work(context, concurrency or CONCURRENCY)
        except asyncio.CancelledError:
            if not shared.terminated.came:
                return INTERRUPTED
    return SUCCEEDED


async def _check(tables: FleetTables, api: str, *, quiet: bool) -> int:
    from replicate_job.fleet.status import workers_here  # noqa: PLC0415 - an extra

    found = await workers_here(tables, api)
    if not quiet:
        ages = ", ".join(f"process {worker.pid} was seen {worker.age:.0f} s ago" for worker in found)
        tell(ages or "no worker of this host lives")
    return SUCCEEDED if found else FAILED
