"""``replicate-job resume``: finish what was interrupted."""

from __future__ import annotations

import asyncio

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED, exit_code, explain
from replicate_job.cli.options import Common, Terminated, common, local, run_async
from replicate_job.cli.output import print_response
from replicate_job.cli.run import conclude
from replicate_job.cli.streams import tell
from replicate_job.errors import JournalError, OutputError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.run import Ask, run_job
from replicate_job.journal.entry import Entry

TOGETHER = 8
"""Jobs that are finished at the same time."""


@click.command("resume")
@local
@common
def command(**options: bool) -> int:
    """Finish every unfinished job of the journal: wait for what runs, keep outputs, create what never was."""
    shared = Common(**options)  # type: ignore[arg-type] # click gives them their types

    async def work(_: Terminated) -> int:
        async with shared.session() as context:
            entries = await context.journal.unfinished(context.api)
            gate = asyncio.Semaphore(TOGETHER)
            codes = await asyncio.gather(*(_finish(context, entry, gate) for entry in entries))
        finished = sum(code == SUCCEEDED for code in codes)
        if not shared.quiet:
            told = f"{finished} of {len(codes)} unfinished jobs succeeded" if codes else "no unfinished jobs"
            tell(told)
        return max(codes, default=SUCCEEDED)

    stopped = "stopped; the jobs are left as they are: `replicate-job resume` finishes them"
    return run_async(work, stopped=stopped)


async def _finish(context: Context, entry: Entry, gate: asyncio.Semaphore) -> int:
    job = msgspec.structs.replace(entry.job, wait_for_completion=True)
    async with gate:
        try:
            result = await run_job(context, Ask(job, entry.key, entry.save))
        except ReplicateJobError as error:
            if isinstance(error, OutputError | JournalError) and error.result:
                print_response(error.result)
            tell(f"{entry.key}: {explain(error)}")
            return exit_code(error)
    print_response(result)
    return conclude(result, job)
