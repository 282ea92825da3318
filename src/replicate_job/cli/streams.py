"""Stdout and stderr, also where they are closed, full, or nobody reads them any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def open_missing() -> None:
    """Open what was closed from the start (``>&-``) as the null device: else the journal would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end


def can_draw() -> bool:
    """Whether stderr is a terminal that a live line can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def write(data: bytes | str) -> None:
    """Write to stdout at once, as UTF-8 whatever the locale says. Raises OSError where it takes no more."""
    data = data.encode() if isinstance(data, str) else data
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader has enough, as `head` has. The job goes on, and Python must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise OSError(f"stdout cannot be written: {error.strerror}") from None


def tell(line: str) -> None:
    """Write a line to stderr. No job ends because nobody listens."""
    with suppress(OSError):
        sys.stderr.write(f"{plain(line)}\n")
        sys.stderr.flush()


def plain(line: str) -> str:
    """The line without control characters: what a server says must not steer the terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else f"\\x{ord(each):02x}" for each in line)


def leave(code: int) -> NoReturn:
    """End the process at once, without tearing the interpreter down.

    Threads of the HTTP library may still be letting go of Python objects then, and that aborts the process (pyreqwest
    0.15, "Fatal Python error: PyGILState_Release": seen 3 of 4 times after a connection that was refused).
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def give_up(code: int) -> NoReturn:
    """Leave in the middle of everything. A terminal gets its cursor back, which the live line hides."""
    if sys.stderr.isatty():
        tell("\x1b[?25h")
    leave(code)
