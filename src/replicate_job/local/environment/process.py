"""Running a program to its end, and never beyond ours."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# Beside the program waits a shell for the end of our pipe: when we die, by whatever signal, the group goes too. It goes
# with the program: to uvloop (0.23) a process has not ended while anybody holds one of its pipes.
_WATCHED = (
    "exec 3<&0; (read _ <&3; kill -KILL 0) >/dev/null 2>&1 & watch=$!; "
    '"$@" </dev/null 3<&-; code=$?; kill "$watch"; exit "$code"'
)


_KEPT = 1_000_000  # characters of what is printed: its end


async def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> tuple[int, str]:
    """The exit code and the last of what was printed, stdout and stderr together; each line as it comes.

    A cancellation ends the program first.
    """
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
        output = await _read(process.stdout, on_line) if process.stdout else ""
        return await process.wait(), output
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _read(pipe: asyncio.StreamReader, on_line: Callable[[str], None]) -> str:
    decoder, printed, begun = codecs.getincrementaldecoder("utf-8")("replace"), "", ""
    while chunk := await pipe.read(2**16):
        text = decoder.decode(chunk)
        printed = (printed + text)[-_KEPT:]
        *lines, begun = (begun + text).split("\n")
        for line in lines:
            on_line(line.rpartition("\r")[2])
    if begun:
        on_line(begun)
    return printed
