"""``replicate-job wait``: a prediction that was created before, here or elsewhere."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from replicate_job.cli.options import Common, Terminated, common, folder, run_async, saving, waiting
from replicate_job.cli.run import conclude, report
from replicate_job.errors import JournalError, OutputError
from replicate_job.flow.adopt import take_over
from replicate_job.flow.run import Ask, run_job


@click.command("wait")
@click.argument("prediction_id", metavar="ID")
@waiting
@saving
@click.option("--key", help="Make it the prediction of the journal's job of this name, which has none yet.")
@common
def command(prediction_id: str, save: str, key: str | None, *, no_save: bool, **options: Any) -> int:
    """Wait for the prediction ID to end, and keep its outputs."""
    shared = Common(**{name: options.pop(name, False) for name in Common.__struct_fields__})
    budget = {name: value for name, value in options.items() if value is not None}

    async def work(_: Terminated) -> int:
        async with shared.session() as context:
            entry = await take_over(context, prediction_id, key=key, save=folder(save, no_save=no_save))
            job = msgspec.structs.replace(entry.job, wait_for_completion=True, **budget)
            try:
                result = await run_job(context, Ask(job, entry.key, entry.save))
            except (OutputError, JournalError) as error:
                if error.result:
                    report(error.result)
                raise
        report(result)
        return conclude(result, job)

    stopped = f"stopped; {prediction_id} is left as it is: `replicate-job wait {prediction_id}` goes on"
    return run_async(work, stopped=stopped)
