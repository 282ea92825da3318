"""``replicate-job cancel``: end a job early."""

from __future__ import annotations

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import known, print_response
from replicate_job.cli.streams import tell
from replicate_job.flow.named import cancel


@click.command(
    "cancel",
    epilog=examples(
        "replicate-job cancel gm3qorzdhgbfurvjtvhg6dckhu",
        "replicate-job cancel order-17",
    ),
)
@click.argument("name", metavar="ID|KEY")
@common
async def command(shared: Common, name: str) -> int:
    """Cancel a prediction by its ID, or a job by its KEY; one that has ended stays as it is."""
    async with shared.session() as context:
        result = await cancel(context, name)
    if result is None:
        tell(f"the job {name} has no prediction: its key is free", key=name)
        return SUCCEEDED
    if result.status not in {"canceled", "aborted"} and not shared.quiet:
        tell(f"prediction {result.prediction_id} is {result.status}", **known(result).facts())
    print_response(result)
    return SUCCEEDED
