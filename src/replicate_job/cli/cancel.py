"""``replicate-job cancel``: end a prediction early."""

from __future__ import annotations

import click

from replicate_job.cli.exits import SUCCEEDED, looking_for
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import print_response
from replicate_job.cli.streams import tell
from replicate_job.flow.cancel import cancel_known
from replicate_job.flow.collect import result_of


@click.command(
    "cancel",
    epilog=examples(
        "replicate-job cancel gm3qorzdhgbfurvjtvhg6dckhu",
    ),
)
@click.argument("prediction_id", metavar="ID")
@common
async def command(shared: Common, prediction_id: str) -> int:
    """Cancel the prediction ID; a prediction that has ended stays as it is."""
    async with shared.session() as context:
        with looking_for(prediction_id, context.client.base_url):
            prediction = await cancel_known(context, prediction_id)
        entry = await context.journal.find(prediction_id, context.api)
    if prediction.status not in {"canceled", "aborted"} and not shared.quiet:
        tell(f"prediction {prediction_id} is {prediction.status}")
    print_response(result_of(prediction, entry))
    return SUCCEEDED
