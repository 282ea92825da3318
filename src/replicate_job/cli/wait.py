"""``replicate-job wait``: a prediction that was created before, here or elsewhere."""

from __future__ import annotations

import click
import msgspec

from replicate_job.cli.options import Common, common, fetching, folder, saving, waiting
from replicate_job.cli.output import conclude, print_carried, report
from replicate_job.flow.adopt import take_over
from replicate_job.flow.run import Ask, run_job


@click.command("wait")
@click.argument("prediction_id", metavar="ID")
@waiting
@saving("the job's own, else outputs")
@click.option("--key", metavar="KEY", help="Make it the prediction of the journal's job KEY, which has none yet.")
@fetching
@common
async def command(
    shared: Common, prediction_id: str, save: str | None, key: str | None, *, no_save: bool, **given: float | None
) -> int:
    """Wait for the prediction ID to end, and keep its outputs."""
    budget = {name: value for name, value in given.items() if value is not None}
    place = folder(save, no_save=no_save)
    stopped = f"stopped; {prediction_id} is left as it is: {shared.line('wait', prediction_id)} goes on"
    with print_carried():
        async with shared.session(stopped=stopped) as context:
            entry = await take_over(context, prediction_id, key=key, save=place)
            job = msgspec.structs.replace(entry.job, wait_for_completion=True, **budget)
            keep = place if save is not None or no_save else entry.save
            result = await run_job(context, Ask(job, entry.key, keep))
    report(result)
    return conclude(result, job, line=shared.line)
