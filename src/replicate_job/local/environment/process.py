"""Programs that end when this process ends, even if it is killed."""

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

# A shell beside the program waits for the end of a pipe. Only this process has the pipe's writing end. When this
# process dies, by whatever signal, the shell kills the whole group.
_WATCHED_PROGRAM = (
    "exec 3<&0; (read _ <&3; kill -KILL 0) >/dev/null 2>&1 & watch=$!; "
    '"$@" </dev/null 3<&-; code=$?; kill "$watch"; exit "$code"'
)
_LONGEST_OUTPUT = 1_000_000  # characters at the end of the output that are returned
_OUTPUT_TIMEOUT = 0.5  # seconds
_PIECE = 2**16  # bytes of one read


class _Pipe(asyncio.ReadTransport):
    """The reading end of a pipe, for a ``StreamReader``.

    It replaces the transport of the event loop, because uvloop 0.23 closes the descriptor of a pipe twice. In between,
    another thread may open a file that gets the same descriptor, and the second close closes that file (observed).
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
        elif piece is not None:  # b"" means the end, and None that there is nothing to read yet
            self.close()


class Program:
    """A shell script and all that it starts: a process group in a session of its own. It needs a running event loop.

    ``words`` are the script's ``$0``, ``$1`` and so on. Its standard input is a pipe to which this process never
    writes, and which ends when this process ends. ``output`` is stdout and stderr together, a ``StreamReader`` with
    this ``limit`` in bytes. The output ends soon after the script, even if a process that left the group still prints.
    Raises OSError.

    asyncio's own subprocesses are not used, because waiting for one may never end (observed with Python 3.11 and uvloop
    0.23): if its start was canceled, if its output is not read to the end, or if another process has its pipe open.
    """

    def __init__(
        self,
        script: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
        limit: int = 2**16,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the callers' scripts are constants, and ``words`` are arguments
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
        self._reap_lock = threading.Lock()
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=self._wait_and_reap, daemon=True).start()

    @property
    def is_up(self) -> bool:
        return not self._ended.is_set()

    async def wait(self) -> int:
        """Wait for the end, and return the exit code as ``subprocess`` does."""
        await self._ended.wait()
        return int(self._process.returncode)

    def kill(self) -> None:
        """Kill the whole group at once."""
        with self._reap_lock:
            if self._process.returncode is None:  # after it was reaped, its id may belong to another process
                self._kill_group()

    async def close(self) -> None:
        """Kill the whole group, and wait for its end. The rest of ``output`` can be read until ``stop_reading``."""
        self.kill()
        await self._ended.wait()

    def stop_reading(self) -> None:
        """End ``output``, even if a process still prints."""
        self._pipe.close()

    def _wait_and_reap(self) -> None:
        """Wait for the group's leader, and kill the rest of its group before the leader is reaped.

        The leader's id is also the group's id. Until the leader is reaped, the system gives that id to no other
        process.
        """
        if sys.platform == "darwin":  # Python before 3.13 has no waitid here, so the id is free for a moment
            self._process.wait()
            self._kill_group()
        else:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            with self._reap_lock:
                self._kill_group()
                self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._finish)

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _finish(self) -> None:
        self._ended.set()
        self._loop.call_later(_OUTPUT_TIMEOUT, self.stop_reading)


async def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> tuple[int, str]:
    """Run a command. Returns its exit code and the end of its output, stdout and stderr together.

    ``on_line`` is called with each line as it arrives. A cancellation also kills the program. Raises OSError if
    ``folder`` is not a folder.
    """
    program = Program(_WATCHED_PROGRAM, ("sh", *command), environment, folder)
    try:
        output = await _read(program.output, on_line)
        return await program.wait(), output
    finally:
        await program.close()
        program.stop_reading()


async def _read(pipe: asyncio.StreamReader, on_line: Callable[[str], None]) -> str:
    decoder, output, unfinished_line = codecs.getincrementaldecoder("utf-8")("replace"), "", ""
    while chunk := await pipe.read(_PIECE):
        text = decoder.decode(chunk)
        output = (output + text)[-_LONGEST_OUTPUT:]
        *lines, unfinished_line = (unfinished_line + text).split("\n")
        for line in lines:
            on_line(line.rpartition("\r")[2])  # a progress bar overwrites its line: only its last state is reported
    if unfinished_line:
        on_line(unfinished_line)
    return output
