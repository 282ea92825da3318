"""``replicate-job show``: a prediction as the API has it now."""

from __future__ import annotations

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.options import Common, common, local, output_only
from replicate_job.cli.output import Shown
from replicate_job.errors import NotFoundError
from replicate_job.flow.collect import result_of
from replicate_job.flow.resolve import find_schema
from replicate_job.flow.retry import read


@click.command("show")
@click.argument("prediction_id", metavar="ID")
@output_only
@local
@common
async def command(shared: Common, prediction_id: str, *, output_only: bool) -> int:
    """Show the prediction ID as it is now; what the API has deleted comes from the journal."""
    async with shared.session() as context:
        entry = await context.journal.find(prediction_id, context.api)
        try:
            prediction = await read(context, lambda: context.client.get_prediction(prediction_id))
        except NotFoundError:
            if entry is None or entry.prediction is None:
                raise
            prediction = entry.prediction
        if entry and entry.prediction and prediction.data_removed:
            prediction = entry.prediction
        result = result_of(prediction, entry, entry.files if entry else ())
        shown = Shown(alone=output_only)
        if shown.needs_schema:
            shown = msgspec.structs.replace(shown, schema=await find_schema(context, result.model))
    shown.report(result)
    return SUCCEEDED
