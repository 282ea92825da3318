"""Runs another program, whose requests to Replicate go to a server of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from replicate_job.cli.signals import Terminated
from replicate_job.errors import JobError
from replicate_job.settings import HEADERS
from replicate_job.testing.environment import environment_apart

KILLED = 128
"""The exit code of a program that a signal ended is this plus the signal's number, as in shells."""
_GRACE = 10.0
"""Seconds after a signal until a program that has not ended is killed."""


async def run_child(
    words: Sequence[str], served: Mapping[str, str], terminated: Terminated, journal: str | None = None
) -> int:
    """Run the program; return its exit code, or minus the number of the signal that ended it.

    ``served`` maps the names of environment variables to values that make the program use the server. The program's
    jobs are recorded in ``journal``, by default a temporary journal and not the user's. Raises JobError for a program
    that cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="replicate-job-", ignore_cleanup_errors=True) as folder:
        environment = {name: value for name, value in os.environ.items() if name != HEADERS}
        environment |= environment_apart(served, journal or Path(folder) / "journal.db")
        try:
            process = await asyncio.create_subprocess_exec(*words, env=environment)
        except (OSError, ValueError) as error:
            raise JobError(f"{words[0]} cannot be started: {getattr(error, 'strerror', None) or error}") from None
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await _end(process, terminated)
            raise


async def _end(process: asyncio.subprocess.Process, terminated: Terminated) -> None:
    with suppress(ProcessLookupError):
        if terminated.came:
            process.terminate()
        elif not sys.stdin.isatty():  # a terminal has sent the SIGINT of Ctrl-C to the program too
            process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), _GRACE)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def exit_code_of(code: int) -> int:
    return KILLED - code if code < 0 else code
