"""Running a program to its end, and never beyond ours."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# Beside the program waits a shell for the end of our pipe: when we die, by whatever signal, the group goes too. It goes
# with the program: to uvloop (0.23) a process has not ended while anybody holds one of its pipes.
_WATCHED = (
    "exec 3<&0; (read _ <&3; kill -KILL 0) >/dev/null 2>&1 & watch=$!; "
    '"$@" </dev/null 3<&-; code=$?; kill "$watch"; exit "$code"'
)


async def run(command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> tuple[int, str]:
    """The exit code and what was printed, stdout and stderr together. A cancellation ends the program first."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _WATCHED, "sh", *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )
    try:
        output = await process.stdout.read() if process.stdout else b""
        return await process.wait(), output.decode(errors="replace")
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
