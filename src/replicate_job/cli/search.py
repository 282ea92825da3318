"""``replicate-job search``: find public models."""

from __future__ import annotations

from typing import Any

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, local
from replicate_job.cli.output import print_json
from replicate_job.cli.streams import tell, write
from replicate_job.cli.table import with_notes
from replicate_job.flow.holdings import MOST_FOUND, search
from replicate_job.wire.holdings import ModelInfo


@click.command(
    "search",
    epilog=examples(
        "replicate-job search upscale an image",
        "replicate-job search speech to text --json | jq -r '.[].model'",
    ),
)
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, MOST_FOUND), default=20, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
@local
@common
async def command(shared: Common, query: tuple[str, ...], limit: int, *, as_json: bool) -> int:
    """Search for public models, the best match first."""
    async with shared.session() as context:
        models = await search(context, " ".join(query), limit=limit)
    show(models, as_json=as_json, none="" if shared.quiet else f"no model fits {' '.join(query)!r}")
    return SUCCEEDED


def show(models: list[ModelInfo], *, as_json: bool, none: str) -> None:
    """Print models as a table or as JSON. For an empty list, write ``none`` to stderr."""
    if as_json:
        print_json([facts(model) for model in models])
    elif models:
        rows = [("MODEL", "KIND", "RUNS"), *((model.model, _kind(model), _runs(model)) for model in models)]
        write(with_notes(rows, ["WHAT IT IS", *(model.description or "" for model in models)]))
    elif none:
        tell(none)


def facts(model: ModelInfo) -> dict[str, Any]:
    return {
        "model": model.model,
        "kind": _kind(model),
        "runs": model.run_count,
        "description": model.description,
        "visibility": model.visibility,
        "tags": model.tags,
        "url": model.url,
    }


def _kind(model: ModelInfo) -> str:
    return "official" if model.is_official else "community"


def _runs(model: ModelInfo) -> str:
    return "" if model.run_count is None else f"{model.run_count:,}"
