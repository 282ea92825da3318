"""Runs another program that is led to a server of this one."""

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
"""Added to a signal's number, as shells do, for a program that it ended."""
_GRACE = 10.0
"""Seconds until a program that was told to end is killed."""


async def run_child(
    words: Sequence[str], served: Mapping[str, str], terminated: Terminated, journal: str | None = None
) -> int:
    """The exit code of the program; negative for a signal that ended it. ``served`` leads it to a server.

    Its jobs go to ``journal``, by default one of its own, which ends with it: they are none of the user's.
    Raises JobError for a program that cannot be started.
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
        elif not sys.stdin.isatty():  # from a terminal, Ctrl-C has reached the program too
            process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), _GRACE)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def exit_code_of(code: int) -> int:
    return KILLED - code if code < 0 else code
