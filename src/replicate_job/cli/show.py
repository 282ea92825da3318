"""``replicate-job show``: a prediction as the API has it now."""

from __future__ import annotations

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED, looking_for
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, local, output_only
from replicate_job.cli.output import Shown
from replicate_job.errors import NotFoundError
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.flow.resolve import find_schema
from replicate_job.flow.retry import read
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction


@click.command(
    "show",
    epilog=examples(
        "replicate-job show gm3qorzdhgbfurvjtvhg6dckhu",
        "replicate-job show gm3qorzdhgbfurvjtvhg6dckhu --output-only",
    ),
)
@click.argument("prediction_id", metavar="ID")
@output_only
@local
@common
async def command(shared: Common, prediction_id: str, *, output_only: bool) -> int:
    """Show the prediction ID as it is now; what the API has deleted comes from the journal."""
    async with shared.session() as context:
        entry = await context.journal.find(prediction_id, context.api)
        with looking_for(prediction_id):
            prediction = await _read(context, prediction_id, entry)
        result = result_of(prediction, entry, entry.files if entry else ())
        shown = Shown(alone=output_only)
        if shown.needs_schema:
            shown = msgspec.structs.replace(shown, schema=await find_schema(context, result.model))
    shown.report(result)
    return SUCCEEDED


async def _read(context: Context, prediction_id: str, entry: Entry | None) -> Prediction:
    known = entry.prediction if entry else None
    try:
        prediction = await read(context, lambda: context.client.get_prediction(prediction_id))
    except NotFoundError:
        if known is None:
            raise
        return known
    return known if known and prediction.data_removed else prediction
