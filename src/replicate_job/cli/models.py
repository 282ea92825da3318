"""``replicate-job models``: what the local server can run."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.output import print_json
from replicate_job.cli.streams import is_shown, tell, write
from replicate_job.local.extra import missing

if TYPE_CHECKING:
    from replicate_job.local.catalog.model import LocalModel

_NARROWEST = 40  # columns that notes take at least


@click.command(
    "models",
    epilog=examples(
        "replicate-job models",
        "replicate-job models --json | jq -r '.[].model'",
    ),
)
@click.argument("folder", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def command(folder: tuple[Path, ...], *, as_json: bool) -> int:
    """List the models that --local and serve can run: those that are built in, and those of FOLDER.

    The size is what the first use downloads.
    """
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
    write(_stacked(models) if is_shown() else _lines(models))
    return SUCCEEDED


def _stacked(models: list[LocalModel]) -> str:
    """Lines for a person: each model with its notes below its name, as wide as the terminal."""
    width = max(shutil.get_terminal_size().columns, _NARROWEST)
    shown = []
    for model, line in zip([None, *models], _aligned(models), strict=True):
        shown.append(line)
        if model:
            shown += textwrap.wrap(model.description, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(shown) + "\n"


def _lines(models: list[LocalModel]) -> str:
    """Lines for a program: one for each model, however long."""
    notes = ["WHAT IT IS", *(model.description for model in models)]
    width = max(map(len, heads := _aligned(models)))
    return "".join(f"{f'{head:{width}}  {note}'.rstrip()}\n" for head, note in zip(heads, notes, strict=True))


def _aligned(models: list[LocalModel]) -> list[str]:
    """The headings, and for each model its name, kind and size."""
    rows = [("MODEL", "KIND", "SIZE"), *((model.slug, _kind(model), model.size) for model in models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


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
