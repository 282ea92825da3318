"""``replicate-job serve``: serve Replicate's API on this machine, for any client."""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replicate_job.aio import new_loop
from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.streams import tell, write
from replicate_job.errors import LocalError
from replicate_job.folders import state_folder
from replicate_job.local.options import ServerOptions
from replicate_job.local.server import serve
from replicate_job.quantity import MOST
from replicate_job.settings import unquoted
from replicate_job.wire.duration import parse_seconds

if TYPE_CHECKING:
    from replicate_job.local.access_log import LoggedRequest
    from replicate_job.serving.faults import Faults

TOKEN = "REPLICATE_JOB_SERVE_TOKEN"  # noqa: S105 - the name of the variable
PORT = 5005
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


class _Seconds(click.ParamType[float]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Bytes(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number, unit = (value[:-1], value[-1].lower()) if value[-1:].lower() in _UNITS else (value, "")
        if not _WHOLE.fullmatch(number) or not int(number):
            self.fail(f"{value!r} is not a size of memory: write it like 800m or 4g", param, ctx)
        return int(number) * _UNITS.get(unit, 1)


class _Faults(click.ParamType["Faults | None"]):
    name = "faults"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Faults | None:
        from replicate_job.serving.faults import Faults  # noqa: PLC0415 - an extra that may not be installed

        try:
            return Faults.parse(value) if value else None
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    "serve",
    epilog=examples(
        "replicate-job serve",
        "replicate-job serve --models models --port 8080  # models/owner/name/cog.yaml",
        "replicate-job serve --fault create:503=0.1,rate=600/min",
    ),
)
@click.argument("folder", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--models",
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The same as FOLDER; may be repeated.",
)
@click.option(
    "--host", default="127.0.0.1", metavar="ADDRESS", help="The address to listen on; any but loopback needs --token."
)
@click.option(
    "--port",
    default=PORT,
    type=click.IntRange(0, 65535),
    help=f"The port to listen on; default {PORT}, 0 takes a free one.",
)
@click.option(
    "--token",
    metavar="TOKEN",
    envvar=TOKEN,
    callback=lambda *given: unquoted(given[-1] or ""),
    help=f"The token that every client must send. [env: {TOKEN}]",
)
@click.option("--idle", default="10m", type=_Seconds(), help="Stop a model after this long without use; default 10m.")
@click.option(
    "--max-models",
    default=4,
    type=click.IntRange(1, MOST),
    help="The most models that run at the same time; default 4.",
)
@click.option("--memory", type=_Bytes(), help="The most memory of a model: 800m, 4g; default 3/4 of the machine's.")
@click.option(
    "--fault",
    default="",
    type=_Faults(),
    help="Faults to inject: create:drop-after=0.2,get:503=0.1,rate=600/min,expire=10s.",
)
@click.option(
    "--prepare", is_flag=True, help="Build the environments of the models in FOLDER now, not at their first use."
)
@click.option("--allow-private", is_flag=True, help="Fetch inputs from private networks and this machine too.")
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for predictions and files.",
)
@partial(common, loop=new_loop)
async def command(  # noqa: PLR0913, PLR0917 - one argument an option
    shared: Common,
    folder: tuple[Path, ...],
    models: tuple[Path, ...],
    host: str,
    port: int,
    token: str,
    state: Path | None,
    fault: Faults | None,
    **limits: Any,
) -> int:
    """Serve Replicate's API on this machine, running real models, until Ctrl-C.

    FOLDER is a Cog project (a folder with a cog.yaml), or holds Cog projects as owner/name/. Its web page is at /.
    """
    if not token and not _is_loopback(host):
        raise click.UsageError(f"--host {host} opens this machine's models to others: choose a --token, or set {TOKEN}")
    options = ServerOptions(
        models=(*folder, *models),
        faults=fault,
        state=state or _own_state(),
        host=host,
        port=port,
        token=token,
        on_notice=(lambda _: None) if shared.quiet else tell,
        on_warning=(lambda _: None) if shared.quiet else (lambda line: tell(f"warning: {line}")),
        on_detail=partial(tell, level="debug") if shared.verbose else (lambda _: None),
        on_request=_tell_request if shared.verbose else None,
        **limits,
    )
    async with serve(options) as base_url:
        write(f"{base_url}\n")
        if not shared.quiet:
            for line in welcome(base_url, host, secured=bool(token)):
                tell(line)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not shared.quiet:
                tell("stopping")
    return SUCCEEDED


def _tell_request(access: LoggedRequest) -> None:
    at, took = time.strftime("%H:%M:%S"), f"{access.seconds * 1000:.0f} ms"
    tell(f"{at} {access.method} {access.path} {access.status or '-'} {took}")


def welcome(base_url: str, host: str, *, secured: bool) -> list[str]:
    """The lines at the start: the server's address, and the variables that make clients use it.

    If other machines can reach the server, the last line warns of it.
    """
    lines = [f"Replicate on this machine, until Ctrl-C. The page: {base_url}/"]
    token = "..." if secured else "local"
    lines.append(f"for clients: export REPLICATE_BASE_URL={base_url} REPLICATE_API_TOKEN={token}")
    if not _is_loopback(host):
        lines.append(f"open to whoever reaches {host} and has the token: models run with your rights on this machine")
    return lines


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _own_state() -> Path:
    if folder := state_folder():
        return folder / "local"
    raise LocalError("there is no home folder for predictions and files: name a folder with --state")
