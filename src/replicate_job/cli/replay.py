"""``replicate-job replay``: answer requests from a recording, for one program or until Ctrl-C."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from replicate_job.aio import new_loop
from replicate_job.cli.child import exit_code_of, run_child
from replicate_job.cli.completion import files
from replicate_job.cli.exits import FAILED, SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.streams import tell, write
from replicate_job.local.extra import missing
from replicate_job.quantity import count

_MOST = 5
"""The most unmatched requests that are named one by one."""


@click.command(
    "replay",
    epilog=examples(
        "replicate-job replay hello.json -- python hello.py",
        "replicate-job replay hello.json --lenient --port 5006",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), shell_complete=files)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="The server's port; default 0, which takes a free one."
)
@click.option("--lenient", is_flag=True, help="Match by model, whatever the input, any number of times.")
@partial(common, loop=new_loop)
async def command(shared: Common, file: Path, command: tuple[str, ...], *, port: int, lenient: bool) -> int:
    """Run COMMAND, and answer its requests from the recording FILE; without COMMAND, answer any program until Ctrl-C.

    No network and no token is needed. A request that FILE lacks gets a 400, is named on stderr, and makes the exit code
    1. Otherwise the exit code is COMMAND's.
    """
    try:
        from replicate_job.testing.recording.replayer import replaying  # noqa: PLC0415 - an extra that may be missing
    except ModuleNotFoundError as error:
        raise missing(error.name, "replay") from None
    async with replaying(file, lenient=lenient, port=port) as replayer:
        if command:
            code = exit_code_of(await run_child(command, replayer.environment, shared.terminated, shared.journal))
        else:
            write(f"{replayer.base_url}\n")
            if not shared.quiet:
                token = replayer.environment["REPLICATE_API_TOKEN"]
                tell(f"for clients: export REPLICATE_BASE_URL={replayer.base_url} REPLICATE_API_TOKEN={token}")
            code = await _until_interrupted()
    for line in replayer.unmatched[:_MOST]:
        tell(f"error: {line}")
    if (more := len(replayer.unmatched) - _MOST) > 0:
        tell(f"error: {count(more, 'more request')} not in {file.name}")
    return code or (FAILED if replayer.unmatched else SUCCEEDED)


async def _until_interrupted() -> int:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return SUCCEEDED
