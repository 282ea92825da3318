"""``replicate-job cancel``: end a job early."""

from __future__ import annotations

from pathlib import Path

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import known, print_response
from replicate_job.cli.streams import tell
from replicate_job.errors import JobError, UnknownJobError
from replicate_job.flow.by_name import cancel
from replicate_job.flow.context import Context
from replicate_job.job import Result


async def _cancel(context: Context, name: str) -> Result | None:
    try:
        return await cancel(context, name)
    except UnknownJobError:
        from replicate_job.batches.chains.by_name import cancel_steps  # noqa: PLC0415 - for chains only

        if chain := await cancel_steps(context, name):
            return chain
        raise


_OUTCOMES = {
    "unsent": "rows will not be created",
    "canceled": "predictions canceled",
    "running": "still running: --running cancels them",
    "unknown": "could not be canceled",
}


@click.command(
    "cancel",
    epilog=examples(
        "replicate-job cancel gm3qorzdhgbfurvjtvhg6dckhu",
        "replicate-job cancel order-17",
        "replicate-job cancel prompts-1f0c2ab91d77 --running",
    ),
)
@click.argument("name", metavar="ID|KEY|BATCH")
@click.option("--running", is_flag=True, help="Cancel also the running predictions of a fleet's batch.")
@common
async def command(shared: Common, name: str, *, running: bool) -> int:
    """Cancel a prediction by its ID, or a job or a chain by its KEY. Ended predictions stay as they are.

    For a BATCH that was submitted to a fleet, no more predictions are created; --running cancels the running ones too.
    """
    async with shared.session() as context:
        if not isinstance(shared.settings.journal, Path):
            from replicate_job.fleet.cancel import cancel_named  # noqa: PLC0415 - an optional extra

            outcomes = await cancel_named(context, name, running=running)
            if outcomes is not None:
                if not shared.quiet:
                    counts = [f"{number:,} {_OUTCOMES[what]}" for what, number in outcomes.items() if number]
                    tell(", ".join(counts) or f"the batch {name} is over: nothing is left to cancel")
                return SUCCEEDED
        if running:
            raise JobError(f"--running is for a fleet's batch, and there is none named {name!r}")
        result = await _cancel(context, name)
    if result is None:
        tell(f"the job {name} has no prediction: its key is free", key=name)
        return SUCCEEDED
    if result.status not in {"canceled", "aborted"} and not shared.quiet:
        tell(f"{result.kind} {result.prediction_id} is {result.status}", **known(result).facts())
    print_response(result)
    return SUCCEEDED
