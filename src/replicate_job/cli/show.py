"""``replicate-job show``: a prediction as the API has it now."""

from __future__ import annotations

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.options import Common, common, local
from replicate_job.cli.output import print_response, print_text
from replicate_job.errors import DamagedError, NotFoundError
from replicate_job.flow.collect import result_of
from replicate_job.flow.retry import read


@click.command("show")
@click.argument("prediction_id", metavar="ID")
@click.option("--logs", is_flag=True, help="Print what the model wrote to its logs, and nothing else.")
@local
@common
async def command(shared: Common, prediction_id: str, *, logs: bool) -> int:
    """Show the prediction ID as it is now; what the API has deleted comes from the journal."""
    async with shared.session() as context:
        try:
            entry = await context.journal.find(prediction_id, context.api)
        except DamagedError as error:
            context.reporter.warn(str(error))
            entry = None
        try:
            prediction = await read(context, lambda: context.client.get_prediction(prediction_id))
        except NotFoundError:
            if entry is None or entry.prediction is None:
                raise
            prediction = entry.prediction
    prediction = prediction.with_data(entry.prediction if entry else None)
    if logs:
        print_text(prediction.logs or "")
    else:
        print_response(result_of(prediction, entry, entry.files if entry else ()))
    return SUCCEEDED
