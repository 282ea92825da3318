"""``replicate-job resume``: finish interrupted jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED, UNREACHABLE, exit_code, explain
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, fetching, local, place, waiting
from replicate_job.cli.output import conclude, name_damaged, print_carried, print_response
from replicate_job.cli.streams import tell
from replicate_job.errors import ReplicateJobError
from replicate_job.flow.collect import LOCAL
from replicate_job.flow.job_run import Ask
from replicate_job.flow.lifecycle import UNFINISHED
from replicate_job.flow.resume import resume
from replicate_job.job import Outcome, Result


@click.command(
    "resume",
    epilog=examples(
        "replicate-job resume",
        "replicate-job resume --timeout 1h",
    ),
)
@waiting
@click.option("--save", metavar="DIR|URL", help="Save outputs here instead of in each job's own folder.")
@fetching
@local
@common
async def command(shared: Common, save: str | None, **given: Any) -> int:
    """Finish every unfinished job of the journal: create it if need be, wait for its prediction, and keep the outputs.

    Each job keeps its own limits for waiting, unless an option replaces them; --timeout is for all jobs together.
    Batches are not resumed; for each, the command that continues it is shown.
    """
    kept_in, timeout = place(save, no_save=save is None), given.pop("timeout")
    budget = {name: value for name, value in given.items() if value is not None}
    stopped = f"stopped; the jobs are left as they are: {shared.line('resume')} finishes them"
    async with shared.session(stopped=stopped, needs_token=False) as context:
        asks = [
            Ask(
                msgspec.structs.replace(entry.job, wait_for_completion=True, **budget),
                entry.key,
                entry.save and (kept_in or entry.save),
                timeout=timeout,
                called=shared.called,
            )
            for entry in await context.journal.unfinished(context.api)
        ]
        if asks:
            shared.check_token()
        known = await context.journal.entries()
        batches = [each for each in await context.journal.batches() if each.unfinished and each.api == context.api]
        elsewhere = Counter(each.api for each in known if each.state in UNFINISHED and each.api != context.api)
        async with aclosing(resume(context, asks)) as outcomes:
            codes = [_report(ask, outcome, shared.line, ephemeral=context.ephemeral) async for ask, outcome in outcomes]
    name_damaged(context.journal)
    if not shared.quiet:
        finished = sum(code == SUCCEEDED for code in codes)
        tell(f"{finished} of {len(codes)} unfinished jobs succeeded" if codes else "no unfinished jobs")
        for batch in batches:
            goes_on = f"`{batch.command}`" if batch.command else f"replicate_job.batch(..., key={batch.id!r})"
            unfinished = f"unfinished rows of the batch {batch.source or batch.id}: {batch.unfinished}"
            tell(f"{unfinished}; {goes_on} goes on with them, and with those that had not begun")
        for api, count in elsewhere.items():
            tell(f"{count} more at {api}: {'--local' if api == LOCAL else f'REPLICATE_BASE_URL={api}'} finishes them")
    return max(*codes, UNREACHABLE if context.journal.damaged else SUCCEEDED, SUCCEEDED)


def _report(ask: Ask, outcome: Outcome, line: Callable[..., str], *, ephemeral: bool) -> int:
    """Print how the job ended, and return its exit code."""
    if isinstance(outcome, Result):
        print_response(outcome)
        return conclude(outcome, ask.job, line=line, ephemeral=ephemeral)
    with suppress(ReplicateJobError), print_carried():
        raise outcome
    tell(f"{ask.key}: {explain(outcome)}", "error", **outcome.about)
    return exit_code(outcome)
