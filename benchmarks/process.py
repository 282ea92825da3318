"""Runs a command in a process of its own, and measures its time and memory."""

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
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes: ru_maxrss is in KiB, on macOS in bytes


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
    """Run ``command`` in ``folder``. With ``terminal``, its stderr is a terminal, so that it shows progress."""
    out = folder / "stdout"
    launched = [sys.executable, "-I", "-S", str(LAUNCHER), str(out), *command]
    with _screen() if terminal else _pipe() as (stderr, pieces):
        measured = subprocess.run(
            launched,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            cwd=folder,
        )
    exited, wall, user, system, peak, code = map(float, measured.stdout.split())
    return Run(exited, wall, user + system, int(peak) * RSS_UNIT, int(code), out.read_text(), b"".join(pieces).decode())


@contextmanager
def _pipe() -> Iterator[tuple[int, list[bytes]]]:
    yield from _read(*os.pipe())


@contextmanager
def _screen() -> Iterator[tuple[int, list[bytes]]]:
    yield from _read(*pty.openpty())


def _read(reading: int, writing: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the writing end, and the pieces that are read from it, which are complete after the ``with``."""
    pieces: list[bytes] = []

    def drain() -> None:
        try:
            while piece := os.read(reading, 65536):
                pieces.append(piece)
        except OSError:  # Linux raises it when the other side of a terminal is closed
            return

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield writing, pieces
    finally:
        os.close(writing)
        thread.join()
        os.close(reading)
