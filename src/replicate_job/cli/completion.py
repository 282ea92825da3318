"""Shell completion of models, files and folders. Click completes commands and options itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's signature
    """Complete the models that run on this machine."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

    try:
        from replicate_job.local.catalog.catalog import BUILT_IN  # noqa: PLC0415 - an extra that may not be installed
    except ModuleNotFoundError:
        return []
    names = sorted("/".join(place.parts[-3:-1]) for place in BUILT_IN.glob("*/*/cog.yaml"))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete models and job files."""
    # Files come last: bash completes file names only where no other word fits.
    return [*files(ctx, param, incomplete), *models(ctx, param, incomplete)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's signature
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

    return [CompletionItem(incomplete, type="file")]


def folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's signature
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

    return [CompletionItem(incomplete, type="dir")]
