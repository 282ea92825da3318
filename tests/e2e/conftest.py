"""The command as a user runs it: a process with its own environment, against a scripted API.

Every process is also checked for the rules that all commands share (``Outcome``), and no
test may leave the token anywhere (``api``, ``command``).
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import msgspec
import pytest

from replicate_job.cli.main import cli
from replicate_job.testing import ScriptedAPI

FIELDS = [
    "prediction_id",
    "status",
    "model",
    "input",
    "output",
    "error",
    "created_at",
    "completed_at",
    "urls",
    "metrics",
]
EMPTY: Mapping[str, str] = MappingProxyType({})
_SEAT = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes stdin the terminal of its session, whose keys are signals, and becomes the program that its words name."""
PATIENCE = 60
"""Seconds after which a process that should have ended is a failure."""


_HINT = re.compile(r"`(replicate-job [^`…]*)`")


def check_hints(told: str) -> None:
    """Check that each suggested command line names an existing command with valid arguments and options."""
    for hint in _HINT.findall(" ".join(told.split())):
        _, name, *words = shlex.split(hint)
        command = cli.get_command(click.Context(cli), name)
        assert command, hint
        command.make_context(name, words)


class Outcome(msgspec.Struct, frozen=True):
    """How a process ended. ``code`` is negative for a signal that killed it, as in ``subprocess``."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which must be one JSON value on one line and nothing else."""
        assert self.out.endswith(b"\n"), self
        assert self.out.count(b"\n") == 1, self
        return msgspec.json.decode(self.out)

    @property
    def response(self) -> dict[str, Any]:
        """The response on stdout: the ten fields in their order, and ``files`` as the eleventh if there are any."""
        found: dict[str, Any] = self.json
        assert list(found) in (FIELDS, [*FIELDS, "files"]), self
        return found

    @property
    def error(self) -> str:
        """The only line on stderr. Fails if there are more or fewer."""
        assert self.err.endswith("\n"), self
        assert self.err.count("\n") == 1, self
        return self.err.removesuffix("\n")


class Process:
    """A command while it runs."""

    def __init__(self, popen: subprocess.Popen[bytes], secret: str) -> None:
        self._popen, self._secret = popen, secret
        self.pid = popen.pid

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self.signal(signal.SIGINT)

    def line(self) -> str:
        """The next line of its stderr."""
        assert self._popen.stderr
        return self._popen.stderr.readline().decode()

    def send(self, data: bytes) -> None:
        """Write to its stdin, which stays open."""
        assert self._popen.stdin
        self._popen.stdin.write(data)
        self._popen.stdin.flush()

    def read(self, size: int) -> bytes:
        """Wait for the next bytes of its stdout, and return them."""
        assert self._popen.stdout
        return self._popen.stdout.read(size)

    def ends_within(self, seconds: float) -> bool:
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, typed: bytes | None = None) -> Outcome:
        """Wait for the end. The outcome's stderr lacks the lines that ``line`` has returned."""
        try:
            out, err = self._popen.communicate(typed, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            out, err = self._popen.communicate()
            raise AssertionError(f"it did not end: {out!r} {err!r}") from None
        assert b"Traceback" not in err, err.decode()
        assert b"Exception ignored" not in err, err.decode()
        check_hints((err or b"").decode())
        assert self._secret.encode() not in (out or b"") + (err or b"")
        return Outcome(self._popen.returncode, out or b"", (err or b"").decode())

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self._popen.communicate()


class Command:
    """``command("run", "owner/name", "text=hi")`` runs it in ``folder``; ``environment`` can be changed before."""

    program: tuple[str, ...] = (sys.executable, "-W", "error", "-m", "replicate_job")

    def __init__(self, folder: Path, api: ScriptedAPI) -> None:
        self.folder, self.journal, self._token = folder, folder / "state" / "journal.db", api.token
        self.environment: dict[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "state"),
            "REPLICATE_JOB_JOURNAL": str(self.journal),
            **api.environment,
        }
        self._started: list[Process] = []

    def __call__(self, *words: str | Path, typed: bytes | None = None, env: Mapping[str, str] = EMPTY) -> Outcome:
        return self.start(*words, env=env).end(typed)

    def start(self, *words: str | Path, stdout: int = subprocess.PIPE, env: Mapping[str, str] = EMPTY) -> Process:
        return self.execute([*self.program, *map(str, words)], stdout=stdout, env=env)

    def execute(self, words: list[str], *, stdout: int = subprocess.PIPE, env: Mapping[str, str] = EMPTY) -> Process:
        """Run any program, with the same environment and the same checks."""
        popen = subprocess.Popen(
            words,
            cwd=self.folder,
            env={**self.environment, **env},
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self._started.append(Process(popen, self._token))
        return self._started[-1]

    def on_terminal(self, *words: str | Path, width: int = 80, env: Mapping[str, str] = EMPTY) -> Outcome:
        """Run with stdout and stderr on two terminals; ``out`` and ``err`` are all that the terminals got."""
        screens = Screen(width), Screen(width)
        popen = subprocess.Popen(
            [*self.program, *map(str, words)],
            cwd=self.folder,
            env={**self.environment, "TERM": "xterm-256color", **env},
            stdin=subprocess.DEVNULL,
            stdout=screens[0].side,
            stderr=screens[1].side,
        )
        with ThreadPoolExecutor(2) as readers:
            out, err = readers.map(Screen.read, screens)
        code = popen.wait(PATIENCE)
        assert b"Traceback" not in err, err.decode()
        assert self._token.encode() not in out + err
        check_hints(err.decode())
        return Outcome(code, out.replace(b"\r\n", b"\n"), err.decode())

    def on_one_terminal(self, *words: str | Path, width: int = 80) -> Seated:
        """Start it with stdin, stdout and stderr on the same terminal, as a person does."""
        screen = Screen(width)
        popen = subprocess.Popen(
            [sys.executable, "-c", _SEAT, *self.program, *map(str, words)],
            cwd=self.folder,
            env={**self.environment, "TERM": "xterm-256color"},
            stdin=screen.side,
            stdout=screen.side,
            stderr=screen.side,
            start_new_session=True,
        )
        process = Process(popen, self._token)
        self._started.append(process)
        return Seated(process, popen, screen)

    def rows(self, columns: str = "*") -> list[dict[str, Any]]:
        """The rows of the journal, oldest first."""
        with closing(sqlite3.connect(self.journal, timeout=10)) as database:
            database.row_factory = sqlite3.Row
            found = database.execute(f"SELECT {columns} FROM jobs ORDER BY seq")  # noqa: S608 - a test gives the columns
            return [dict(row) for row in found]

    def close(self) -> None:
        for process in self._started:
            process.kill()


class Screen:
    """A pseudo-terminal; ``side`` is what a process writes to."""

    def __init__(self, width: int) -> None:
        self._own, self.side = pty.openpty()
        fcntl.ioctl(self.side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._own, keys)

    def read(self) -> bytes:
        """Read everything, until the last process that writes has ended."""
        os.close(self.side)
        shown = b""
        with suppress(OSError):  # Linux says EIO at the end of a terminal
            while part := os.read(self._own, 65536):
                shown += part
        os.close(self._own)
        return shown


class Seated:
    """A command with a terminal of its own, on which keys can be typed."""

    def __init__(self, process: Process, popen: subprocess.Popen[bytes], screen: Screen) -> None:
        self.process, self._popen, self._screen = process, popen, screen

    def type(self, keys: bytes) -> None:
        self._screen.type(keys)

    def end(self) -> tuple[int, list[str]]:
        """The exit code, and the lines on the terminal at the end that are not empty."""
        written = self._screen.read()
        code = self._popen.wait(PATIENCE)
        assert b"Traceback" not in written, written.decode()
        return code, [line for line in rendered(written.decode()) if line]


_CONTROL = re.compile(r"\x1b\[(?P<amount>\d*)(?P<what>[A-K])|\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")


def rendered(written: str) -> list[str]:
    """The text on a terminal that never scrolls or wraps."""
    lines, row, column = [""], 0, 0
    for found in _CONTROL.finditer(written):
        part, what = found[0], found["what"]
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif what == "A":
            row = max(0, row - int(found["amount"] or 1))
        elif what == "K":
            lines[row] = "" if found["amount"] == "2" else lines[row][:column]
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


@pytest.fixture
def command(tmp_path: Path, api: ScriptedAPI) -> Iterator[Command]:
    """The command, for ``api``; afterwards no file that it left holds the token."""
    command = Command(tmp_path, api)
    yield command
    command.close()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or api.token.encode() not in _head(path), path


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2**20)
