"""``replicate-job show``: show a prediction's current state."""

from __future__ import annotations

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, local, output_only
from replicate_job.cli.output import Shown, print_text
from replicate_job.errors import UnknownJobError
from replicate_job.flow.by_name import observe
from replicate_job.flow.context import Context
from replicate_job.flow.resolve import find_schema
from replicate_job.job import Result


async def _observe(context: Context, name: str) -> Result:
    try:
        return await observe(context, name)
    except UnknownJobError:
        from replicate_job.batches.chains.by_name import observe_chain  # noqa: PLC0415 - for chains only

        if chain := await observe_chain(context, name):
            return chain
        raise


@click.command(
    "show",
    epilog=examples(
        "replicate-job show gm3qorzdhgbfurvjtvhg6dckhu",
        "replicate-job show gm3qorzdhgbfurvjtvhg6dckhu --output-only",
    ),
)
@click.argument("name", metavar="ID|KEY")
@click.option("--logs", is_flag=True, help="Print only the model's logs.")
@output_only
@local
@common
async def command(shared: Common, name: str, *, logs: bool, output_only: bool) -> int:
    """Show a prediction by ID, or a job or a chain by KEY, as it is now.

    Data that the API has deleted is shown from the journal.
    """
    if logs and output_only:
        raise click.UsageError("--logs and --output-only exclude each other")
    async with shared.session() as context:
        result = await _observe(context, name)
        shown = Shown(alone=output_only)
        if not logs and shown.lacks_schema(result):
            shown = msgspec.structs.replace(shown, schema=await find_schema(context, result.model))
    if logs:
        print_text(result.logs)
    else:
        shown.report(result)
    return SUCCEEDED
