"""``replicate-job deployments``: list and show the account's deployments."""

from __future__ import annotations

import click

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.moments import of_api
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import print_json
from replicate_job.cli.streams import tell, write
from replicate_job.cli.table import table
from replicate_job.flow.holdings import deployment, deployments
from replicate_job.wire.holdings import DeploymentInfo, ReleaseInfo

_HEADINGS = ("DEPLOYMENT", "MODEL", "VERSION", "HARDWARE", "INSTANCES", "RELEASED")
_SHOWN = 12  # digits of a version that are shown


@click.group(
    "deployments",
    epilog=examples(
        "replicate-job deployments list",
        "replicate-job deployments show acme/flux",
    ),
)
def command() -> None:
    """List and show the account's deployments. To run one, name `deployments/owner/name` as the model."""


@command.command("list", epilog=examples("replicate-job deployments list --json | jq -r '.[].name'"))
@click.option("--json", "as_json", is_flag=True, help="An array of the API's objects.")
@common
async def list_command(shared: Common, *, as_json: bool) -> int:
    """List the account's deployments, newest first, with their current release."""
    async with shared.session() as context:
        found = [each async for each in deployments(context)]
    if as_json:
        print_json(found)
    elif found:
        write(table([_HEADINGS, *map(_row, found)]))
    elif not shared.quiet:
        tell("no deployments")
    return SUCCEEDED


@command.command("show", epilog=examples("replicate-job deployments show acme/flux | jq .current_release"))
@click.argument("name", metavar="OWNER/NAME")
@common
async def show_command(shared: Common, name: str) -> int:
    """Show a deployment and its current release: its version, hardware and instances."""
    async with shared.session() as context:
        print_json(await deployment(context, name))
    return SUCCEEDED


def _row(shown: DeploymentInfo) -> tuple[str, ...]:
    release = shown.current_release or ReleaseInfo()
    low, high = release.configuration.min_instances, release.configuration.max_instances
    return (
        shown.deployment,
        release.model or "",
        (release.version or "")[:_SHOWN],
        release.configuration.hardware or "",
        "" if low is None and high is None else f"{'' if low is None else low}..{'' if high is None else high}",
        of_api(release.created_at),
    )
