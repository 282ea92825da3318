"""What a command, run as a process of its own, took."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

LAUNCHER = Path(__file__).with_name("launcher.py")
# ru_maxrss is in KiB, on macOS in bytes.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Run(msgspec.Struct, frozen=True):
    """``exited`` is Unix time; ``wall`` and ``cpu`` (user and system) are seconds, ``peak`` bytes of memory."""

    exited: float
    wall: float
    cpu: float
    peak: int
    code: int
    stdout: str
    stderr: str


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path, *, terminal: bool = False) -> Run:
    """Run ``command`` in ``folder``. ``terminal``: its stderr is a terminal, as where a person watches."""
    out = folder / "stdout"
    whole = [sys.executable, "-I", "-S", str(LAUNCHER), str(out), *command]
    with _screen() if terminal else _pipe() as (stderr, told):
        measured = subprocess.run(
            whole,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            cwd=folder,
        )
    exited, wall, user, system, peak, code = map(float, measured.stdout.split())
    return Run(exited, wall, user + system, int(peak) * RSS_UNIT, int(code), out.read_text(), b"".join(told).decode())


@contextmanager
def _pipe() -> Iterator[tuple[int, list[bytes]]]:
    yield from _read(*os.pipe())


@contextmanager
def _screen() -> Iterator[tuple[int, list[bytes]]]:
    yield from _read(*pty.openpty())


def _read(reading: int, writing: int) -> Iterator[tuple[int, list[bytes]]]:
    """Give the writing end and, after it, all that came."""
    told: list[bytes] = []

    def drain() -> None:
        try:
            while piece := os.read(reading, 65536):
                told.append(piece)
        except OSError:  # how Linux says that a terminal's other side is closed
            return

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield writing, told
    finally:
        os.close(writing)
        thread.join()
        os.close(reading)
