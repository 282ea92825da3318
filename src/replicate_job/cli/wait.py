"""``replicate-job wait``: wait for a prediction that was created before, here or elsewhere."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click
import msgspec

from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, fetching, output_only, place, saving, waiting
from replicate_job.cli.output import Shown, conclude, print_carried
from replicate_job.flow.by_name import find_or_adopt
from replicate_job.flow.deadline import ExpiredError, deadline
from replicate_job.flow.job_run import Ask
from replicate_job.flow.resolve import find_schema
from replicate_job.flow.run import run_job


@click.command(
    "wait",
    epilog=examples(
        "replicate-job wait gm3qorzdhgbfurvjtvhg6dckhu",
        "replicate-job wait gm3qorzdhgbfurvjtvhg6dckhu --save pictures --output-only",
    ),
)
@click.argument("name", metavar="ID|KEY")
@waiting
@saving("the job's own, else outputs")
@output_only
@click.option("--key", metavar="KEY", help="Attach the prediction ID to the job KEY, which has no prediction.")
@fetching
@common
async def command(shared: Common, name: str, save: str | None, key: str | None, **given: Any) -> int:
    """Wait for a prediction by its ID, or a job by its KEY, to end, and keep its outputs."""
    no_save, shown = given.pop("no_save"), Shown(alone=given.pop("output_only"))
    timeout = given.pop("timeout")
    budget = {name: value for name, value in given.items() if value is not None}
    kept_in = place(save, no_save=no_save)
    stopped = f"stopped; {name} is left as it is: {shared.line('wait', name)} goes on"
    with print_carried(shown):
        async with shared.session(stopped=stopped) as context:
            entry = await find_or_adopt(context, name, key=key, save=kept_in, timeout=timeout, called=shared.called)
            job = msgspec.structs.replace(entry.job, wait_for_completion=True, **budget)
            keep = kept_in if save is not None or no_save else entry.save
            ask = Ask(job, entry.key, keep, timeout=timeout, called=shared.called)
            result = await run_job(context, ask)
            if shown.lacks_schema(result):
                with suppress(ExpiredError):  # without the schema the result is printed too
                    async with deadline(context.clock, ask.deadline):
                        shown = msgspec.structs.replace(shown, schema=await find_schema(context, entry.job.model))
    shown.report(result)
    return conclude(result, job, line=shared.line)
