"""Programs that end with us, whatever they do with what they have of ours."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# Beside the program waits a shell for the end of our pipe: when we die, by whatever signal, the group goes too.
_WATCHED = (
    "exec 3<&0; (read _ <&3; kill -KILL 0) >/dev/null 2>&1 & watch=$!; "
    '"$@" </dev/null 3<&-; code=$?; kill "$watch"; exit "$code"'
)
_KEPT = 1_000_000  # characters of what is printed: its end
_LAST_WORDS = 0.5  # seconds
_PIECE = 2**16  # bytes


class _Pipe(asyncio.ReadTransport):
    """The reading end of a pipe, for a ``StreamReader``.

    By hand: uvloop (0.23) closes what it is given to read from twice, and the second time the descriptor may be that of
    a file which another thread has opened in between (seen).
    """

    def __init__(self, pipe: IO[bytes], output: asyncio.StreamReader) -> None:
        super().__init__()
        self._pipe, self._output, self._loop = pipe, output, asyncio.get_running_loop()
        os.set_blocking(pipe.fileno(), False)
        output.set_transport(self)
        self.resume_reading()

    def pause_reading(self) -> None:
        self._loop.remove_reader(self._pipe)

    def resume_reading(self) -> None:
        if not self._pipe.closed:
            self._loop.add_reader(self._pipe, self._read)

    def close(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe)
            self._pipe.close()
            self._output.feed_eof()

    def _read(self) -> None:
        piece = self._pipe.read(_PIECE)
        if piece:
            self._output.feed_data(piece)
        elif piece is not None:  # which is when there is nothing yet
            self.close()


class Program:
    """A shell's script and all that it starts: a group of processes in a session of its own. Only on an event loop.

    ``words`` are the script's ``$0``, ``$1`` and so on. Its standard input is a pipe of ours that nothing is written
    to, and that ends with us. ``output`` is what is printed, stdout and stderr together, with ``limit`` as of any
    ``StreamReader``; it ends soon after the script, even where somebody who left the group goes on. Raises OSError.

    The event loops' own subprocesses can be waited for in vain (seen with Python 3.11 and uvloop 0.23): after a
    cancellation in the midst of their start, and while their output is not read to its end or somebody else holds it.
    """

    def __init__(
        self,
        script: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
        limit: int = 2**16,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - to run what it is given is what it is for
            ("/bin/sh", "-c", script, *words),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        assert self._process.stdout  # noqa: S101 - for the type checker
        self.output = asyncio.StreamReader(limit)
        self._pipe = _Pipe(self._process.stdout, self.output)
        self._reaping = threading.Lock()
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=self._await, daemon=True).start()

    @property
    def is_up(self) -> bool:
        return not self._ended.is_set()

    async def wait(self) -> int:
        """The exit code, once it ends; as in ``subprocess``."""
        await self._ended.wait()
        return int(self._process.returncode)

    def kill(self) -> None:
        """End the whole group at once."""
        with self._reaping:
            if self._process.returncode is None:  # from then on its id may be that of a stranger
                self._end_group()

    async def close(self) -> None:
        """End the whole group, and wait for it. The end of ``output`` can still be read, until ``leave``."""
        self.kill()
        await self._ended.wait()

    def leave(self) -> None:
        """Read no more, whoever still prints."""
        self._pipe.close()

    def _await(self) -> None:
        """Nothing of a group is wanted after its leader, of whom nobody else has the id until it is reaped."""
        if sys.platform == "darwin":  # has no waitid before Python 3.13: for a moment its id is free
            self._process.wait()
            self._end_group()
        else:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            with self._reaping:
                self._end_group()
                self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._over)

    def _end_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _over(self) -> None:
        self._ended.set()
        self._loop.call_later(_LAST_WORDS, self.leave)


async def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> tuple[int, str]:
    """The exit code and the last of what was printed, stdout and stderr together; each line as it comes.

    A cancellation ends the program first. Raises OSError where ``folder`` is none.
    """
    program = Program(_WATCHED, ("sh", *command), environment, folder)
    try:
        output = await _read(program.output, on_line)
        return await program.wait(), output
    finally:
        await program.close()
        program.leave()


async def _read(pipe: asyncio.StreamReader, on_line: Callable[[str], None]) -> str:
    decoder, printed, begun = codecs.getincrementaldecoder("utf-8")("replace"), "", ""
    while chunk := await pipe.read(_PIECE):
        text = decoder.decode(chunk)
        printed = (printed + text)[-_KEPT:]
        *lines, begun = (begun + text).split("\n")
        for line in lines:
            on_line(line.rpartition("\r")[2])
    if begun:
        on_line(begun)
    return printed
