"""``replicate-job show``: a prediction as the API has it now."""

from __future__ import annotations

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED, looking_for
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, local, output_only
from replicate_job.cli.output import Shown, print_text
from replicate_job.errors import DamagedError, NotFoundError
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.flow.reads import read
from replicate_job.flow.resolve import find_schema
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
@click.option("--logs", is_flag=True, help="Print what the model wrote to its logs, and nothing else.")
@output_only
@local
@common
async def command(shared: Common, prediction_id: str, *, logs: bool, output_only: bool) -> int:
    """Show the prediction ID as it is now; what the API has deleted comes from the journal."""
    if logs and output_only:
        raise click.UsageError("--logs and --output-only exclude each other")
    async with shared.session() as context:
        entry = await _find(context, prediction_id)
        with looking_for(prediction_id, context.client.base_url):
            prediction = await _read(context, prediction_id, entry)
        result = result_of(prediction, entry, entry.files if entry else ())
        shown = Shown(alone=output_only)
        if not logs and shown.lacks_schema(result):
            shown = msgspec.structs.replace(shown, schema=await find_schema(context, result.model))
    if logs:
        print_text(result.logs)
    else:
        shown.report(result)
    return SUCCEEDED


async def _find(context: Context, prediction_id: str) -> Entry | None:
    try:
        return await context.journal.find(prediction_id, context.api)
    except DamagedError as error:
        context.reporter.warn(str(error))
        return None


async def _read(context: Context, prediction_id: str, entry: Entry | None) -> Prediction:
    known = entry.prediction if entry else None
    try:
        prediction = await read(context, lambda: context.client.get_prediction(prediction_id))
    except NotFoundError:
        if known is None:
            raise
        return known
    return prediction.with_data(known)
