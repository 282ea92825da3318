"""The command ``replicate-job``. Each command is a module of its own, imported when it is called."""

from __future__ import annotations

import gc
import sys
import traceback
from importlib import import_module
from pathlib import PurePath

import click

from replicate_job.cli.exits import INTERRUPTED, UNREACHABLE, exit_code, explain
from replicate_job.cli.help import examples
from replicate_job.cli.log import LOG
from replicate_job.cli.streams import leave, open_streams, tell
from replicate_job.telemetry import flush
from replicate_job.version import __version__

COMMANDS = {
    "run": "Run a job file or a model, and keep its outputs.",
    "batch": "Run a job or a model for every row of a file.",
    "worker": "Run the batches that were submitted to a fleet.",
    "status": "Show the progress of a fleet's batches.",
    "results": "Write the results of a fleet's batch.",
    "wait": "Wait for a prediction to end, and keep its outputs.",
    "show": "Show a prediction as it is now.",
    "cancel": "Cancel a prediction or a batch.",
    "pull": "Keep the outputs of predictions that were made elsewhere.",
    "resume": "Finish every job that was interrupted.",
    "list": "List the jobs of the journal.",
    "prune": "Delete old jobs from the journal.",
    "delete": "Delete jobs from the journal.",
    "migrate": "Make or update the tables of a journal in PostgreSQL.",
    "search": "Search for public models.",
    "schema": "Show a model's inputs and output.",
    "deployments": "List and show the account's deployments.",
    "train": "Train a version of a model.",
    "trainings": "List, show and cancel the account's trainings.",
    "serve": "Serve Replicate's API on this machine, with real models.",
    "record": "Run a program, and record its requests to Replicate.",
    "replay": "Answer a program's requests from a recording, without a network.",
    "models": "List the models that run on this machine.",
    "check": "Check the token, the network and the account.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"replicate_job.cli.{cmd_name}").command
        gc.freeze()  # the imported objects live to the end, so they need no search for cycles
        gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"there is no command {name!r}{_meant(name)}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _meant(name: str) -> str:
    if "/" in name or PurePath(name).suffix:
        import shlex  # noqa: PLC0415 - for unknown commands only

        return f": to run it, write `{shlex.join(['replicate-job', 'run', name])}`"
    from difflib import get_close_matches  # noqa: PLC0415 - for unknown commands only

    close = get_close_matches(name.lower(), COMMANDS, n=1)
    return f", did you mean {close[0]}?" if close else f"; there are {', '.join(COMMANDS)}"


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "replicate-job run run.xs --local",
        'replicate-job run black-forest-labs/flux-schnell prompt="a fox"',
        "replicate-job serve",
        "replicate-job COMMAND --help",
    ),
)
@click.version_option(__version__, prog_name="replicate-job")
def cli() -> None:
    """Run AI models on Replicate as jobs that finish: created once, waited for, outputs kept.

    A token comes from REPLICATE_API_TOKEN; with --local everything runs on this machine and none is needed.
    """


def main() -> None:
    """Run the command line. Every error becomes one message on stderr and an exit code."""
    try:
        open_streams()
        LOG.choose(sys.argv[1:])
        _check_words(sys.argv[1:])
        code = cli.main(prog_name="replicate-job", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - an unexpected error is a bug, and is shown with its traceback
        message = explain(error)
        tell(message or traceback.format_exc(), "error", **getattr(error, "about", {}))
        code = exit_code(error) if message else UNREACHABLE
    except KeyboardInterrupt:
        code = INTERRUPTED
    flush()
    leave(code)


def _check_words(words: list[str]) -> None:
    """Raise UsageError for a word that is not text in this locale: neither JSON nor SQLite can store it."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            encoding = sys.getfilesystemencoding()
            raise click.UsageError(f"{word!a} is not valid Unicode: write it in this locale's {encoding}") from None
