"""``replicate-job trainings``: list, show and cancel the account's trainings."""

from __future__ import annotations

from contextlib import aclosing

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.moments import of_api
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import print_json, print_text
from replicate_job.cli.streams import tell, write
from replicate_job.cli.table import table
from replicate_job.flow.holdings import cancel_training, training, trainings
from replicate_job.quantity import MOST
from replicate_job.wire.holdings import TrainingInfo

_HEADINGS = ("TIME", "TRAINING", "MODEL", "STATUS", "TRAINED", "MADE")


@click.group(
    "trainings",
    epilog=examples(
        "replicate-job trainings list --limit 20",
        "replicate-job trainings show zz4ibbonubfz7carwiefibzgga",
        "replicate-job trainings cancel zz4ibbonubfz7carwiefibzgga",
    ),
)
def command() -> None:
    """List, show and cancel the account's trainings."""


@command.command("list", epilog=examples("replicate-job trainings list --json | jq -r '.[].output.version'"))
@click.option("--json", "as_json", is_flag=True, help="An array of the API's objects.")
@click.option("--limit", type=click.IntRange(1, MOST), metavar="N", help="List only the newest N; default all.")
@common
async def list_command(shared: Common, limit: int | None, *, as_json: bool) -> int:
    """List the account's trainings, newest first, each with the version that it made."""
    found: list[TrainingInfo] = []
    async with shared.session() as context, aclosing(trainings(context)) as listed:
        async for each in listed:
            found.append(each)
            if len(found) == limit:
                break
    if as_json:
        print_json(found)
    elif found:
        write(table([_HEADINGS, *map(_row, found)]))
    elif not shared.quiet:
        tell("no trainings")
    return SUCCEEDED


@command.command("show", epilog=examples("replicate-job trainings show zz4ibbonubfz7carwiefibzgga --logs"))
@click.argument("training_id", metavar="ID")
@click.option("--logs", is_flag=True, help="Print only the training's logs.")
@common
async def show_command(shared: Common, training_id: str, *, logs: bool) -> int:
    """Show a training by its ID, as it is now."""
    async with shared.session() as context:
        shown = await training(context, training_id)
    if logs:
        print_text(shown.logs or "")
    else:
        print_json(shown)
    return SUCCEEDED


@command.command("cancel", epilog=examples("replicate-job trainings cancel zz4ibbonubfz7carwiefibzgga"))
@click.argument("training_id", metavar="ID")
@common
async def cancel_command(shared: Common, training_id: str) -> int:
    """Cancel a training by its ID. An ended training stays as it is."""
    async with shared.session() as context:
        shown = await cancel_training(context, training_id)
    if shown.status not in {"canceled", "aborted"} and not shared.quiet:
        tell(f"training {shown.id} is {shown.status}", prediction=shown.id)
    print_json(shown)
    return SUCCEEDED


def _row(shown: TrainingInfo) -> tuple[str, ...]:
    seconds = (shown.metrics or {}).get("predict_time")
    made = shown.output.get("version") if isinstance(shown.output, dict) else None
    return (
        of_api(shown.created_at),
        shown.id,
        shown.model or "",
        shown.status,
        f"{seconds:.0f}s" if isinstance(seconds, int | float) else "",
        made if isinstance(made, str) else "",
    )
