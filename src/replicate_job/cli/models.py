"""``replicate-job models``: list the models that the local server can run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import print_json
from replicate_job.cli.streams import tell, write
from replicate_job.cli.table import with_notes
from replicate_job.local.extra import missing

if TYPE_CHECKING:
    from replicate_job.local.catalog.model import LocalModel


@click.command(
    "models",
    epilog=examples(
        "replicate-job models",
        "replicate-job models --json | jq -r '.[].model'",
        "replicate-job models --remote black-forest-labs",
    ),
)
@click.argument("folder", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--remote", metavar="OWNER", help="List the public models of this user or organization at Replicate.")
@common
async def command(shared: Common, folder: tuple[Path, ...], remote: str | None, *, as_json: bool) -> int:
    """List the models that --local and serve can run: the built-in ones, and those of FOLDER.

    SIZE is the download of the first use.
    """
    if remote is not None:
        if folder:
            raise click.UsageError("--remote and FOLDER exclude each other")
        return await _list_remote(shared, remote, as_json=as_json)
    return _list_local(folder, as_json=as_json)


async def _list_remote(shared: Common, owner: str, *, as_json: bool) -> int:
    from replicate_job.cli.search import show  # noqa: PLC0415 - only --remote needs the API
    from replicate_job.flow.holdings import models_of  # noqa: PLC0415 - as above

    async with shared.session() as context:
        models = [model async for model in models_of(context, owner)]
    models.sort(key=lambda model: (-(model.run_count or 0), model.name))
    show(models, as_json=as_json, none="" if shared.quiet else f"the API's list shows no public model of {owner}")
    return SUCCEEDED


def _list_local(folder: tuple[Path, ...], *, as_json: bool) -> int:
    try:
        from replicate_job.local.catalog.catalog import Catalog  # noqa: PLC0415 - an extra that may not be installed
    except ModuleNotFoundError as error:
        raise missing(error.name) from None
    catalog = Catalog(folder)
    models = catalog.models()
    for fault in catalog.faults:
        tell(f"warning: {fault}")
    if as_json:
        print_json([_facts(model) for model in models])
        return SUCCEEDED
    rows = [("MODEL", "KIND", "SIZE"), *((model.slug, _kind(model), model.size) for model in models)]
    write(with_notes(rows, ["WHAT IT IS", *(model.description for model in models)]))
    return SUCCEEDED


def _kind(model: LocalModel) -> str:
    if not model.is_built_in:
        return "yours"
    return "official" if model.is_official else "community"


def _facts(model: LocalModel) -> dict[str, object]:
    return {
        "model": model.slug,
        "kind": _kind(model),
        "stands_in": model.stands_in,
        "size": model.size,
        "description": model.description,
        "version": model.version,
        "folder": str(model.folder),
    }
