"""``replicate-job record``: record a program's requests to Replicate, and the responses, in a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replicate_job.aio import new_loop
from replicate_job.cli.child import exit_code_of, run_child
from replicate_job.cli.completion import files
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common
from replicate_job.cli.streams import tell
from replicate_job.errors import RecordingError
from replicate_job.local.extra import missing
from replicate_job.quantity import count
from replicate_job.settings import BASE_URL
from replicate_job.wire.prediction import TERMINAL

if TYPE_CHECKING:
    from replicate_job.testing.recording.recorder import Recorder
    from replicate_job.testing.recording.tape import Tape


@click.command(
    "record",
    epilog=examples(
        "replicate-job record hello.json -- python hello.py",
        "replicate-job record hello.json -- pytest tests/test_hello.py",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), shell_complete=files)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@partial(common, loop=new_loop)
async def command(shared: Common, file: Path, command: tuple[str, ...]) -> int:
    """Run COMMAND, and record its requests to Replicate and their responses in FILE, and files in a folder beside it.

    The requests go to a server on this machine, which passes them to the API. The token, secret inputs and signatures
    in URLs are not recorded. The exit code is COMMAND's. If it is interrupted, nothing is written.
    """
    try:
        from replicate_job.testing.recording.recorder import recording  # noqa: PLC0415 - an extra that may be missing
        from replicate_job.testing.recording.tape import check_place  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise missing(error.name, "record") from None
    check_place(file)
    async with recording(shared.settings) as recorder:
        code = await run_child(command, recorder.environment, shared.terminated, shared.journal)
        if code < 0:
            tell(f"nothing was recorded: a signal has ended {command[0]}")
            return exit_code_of(code)
        if not recorder.is_used:
            raise RecordingError(f"nothing was recorded: {command[0]} has sent no request to {BASE_URL}")
        tape = await recorder.save(file)
    if not shared.quiet:
        tell(f"{file}: recorded {summary(tape)}")
        for line in warnings(tape, recorder):
            tell(f"warning: {line}")
    return code


def summary(tape: Tape) -> str:
    others = len(tape.requests)
    return (
        f"{count(len(tape.predictions), 'prediction')}, {count(len(tape.files), 'file')} "
        f"and {count(others, 'other request')}"
    )


def warnings(tape: Tape, recorder: Recorder) -> list[str]:
    lines = []
    if unfinished := [seen for seen in recorder.log.predictions.values() if seen.last.get("status") not in TERMINAL]:
        lines.append(f"{len(unfinished)} of {len(tape.predictions)} predictions had not ended when they were last seen")
    if recorder.troubles:
        lines.append(f"{count(len(recorder.troubles), 'request')} had no answer; the first: {recorder.troubles[0]}")
    return lines
