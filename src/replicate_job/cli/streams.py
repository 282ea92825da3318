"""Stdout and stderr, which may be closed, full, or a pipe without a reader.

Only this module writes to them (the linter checks that), so that no text with control characters reaches a terminal.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import NoReturn, Protocol, TextIO

from replicate_job.cli.log import LOG
from replicate_job.terminal import plain


class _Terminal(io.TextIOWrapper):
    """A terminal that shows control characters as text, whichever library writes them. It wraps the stream ``bare``."""

    def __init__(self, bare: TextIO) -> None:
        super().__init__(bare.buffer, bare.encoding, "backslashreplace", line_buffering=True)
        self.bare = bare

    def write(self, text: str, /) -> int:
        super().write(plain(text))
        return len(text)


def open_streams() -> None:
    """Open streams that were closed, and wrap terminals in ``_Terminal``. Call it once, before anything is written."""
    open_missing()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream.isatty():
            setattr(sys, name, _Terminal(stream))


def open_missing() -> None:
    """Open each stream that was closed (``>&-``) as the null device.

    Otherwise the journal's file would get the stream's descriptor, and output would be written into the journal.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the new file gets the lowest free descriptor, which is ``number``
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - a descriptor, open for the whole process


def is_shown() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def is_watched() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr.isatty()


def width() -> int | None:
    """The columns of the terminal behind stderr; None if stderr is not a terminal."""
    return os.get_terminal_size(sys.stderr.fileno()).columns if is_watched() else None


class Drawing(Protocol):
    """Something drawn on the terminal below the lines, which can be hidden while a line is written."""

    def hide(self) -> None: ...
    def reveal(self) -> None: ...


_drawings: list[Drawing] = []


@contextmanager
def drawing(shown: Drawing) -> Iterator[None]:
    """Within the block, ``shown`` is hidden while output is written, so that output does not mix with the drawing."""
    _drawings.append(shown)
    try:
        yield
    finally:
        _drawings.remove(shown)


@contextmanager
def aside() -> Iterator[None]:
    """Hide the drawings within the block, in which other output is written to the terminal."""
    for shown in _drawings:
        shown.hide()
    try:
        yield
    finally:
        for shown in _drawings:
            shown.reveal()


def can_draw() -> bool:
    """Whether a live line can be drawn: stderr is a terminal that allows it, and the log is not JSON."""
    return is_watched() and not LOG.is_json and os.environ.get("TERM") not in {"dumb", "unknown"}


def bare_stderr() -> TextIO:
    """Stderr without the wrapper ``_Terminal``, for this package's own control sequences."""
    return sys.stderr.bare if isinstance(sys.stderr, _Terminal) else sys.stderr


def write(data: bytes | str) -> None:
    """Write to stdout without buffering, as UTF-8 in any locale. On a terminal control characters are made visible.

    A pipe without a reader is not an error. Raises OSError if stdout cannot be written, as on a full disk.
    """
    if is_shown():
        data = plain(data if isinstance(data, str) else data.decode())
    data = data.encode() if isinstance(data, str) else data
    try:
        with aside() if is_shown() else nullcontext():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does. The job continues, and Python must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise OSError(f"stdout cannot be written: {error.strerror}") from None


def tell(line: str, level: str = "", **known: str) -> None:
    """Write a line to stderr, as text or JSON. A closed stderr does not end a job.

    ``level`` is ``error``, ``warning``, ``info`` or ``debug``. By default it is the word at the line's start, or
    ``info``. ``known`` has more fields for a log of JSON, besides those of the current job.
    """
    with suppress(OSError), aside():
        sys.stderr.write(f"{LOG.form(line, level, known)}\n")
        sys.stderr.flush()


def leave(code: int) -> NoReturn:
    """End the process at once, without tearing the interpreter down.

    During that, threads of the HTTP library may still release Python objects, which aborts the process (pyreqwest
    0.15, "Fatal Python error: PyGILState_Release": seen 3 of 4 times after a connection that was refused).
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def give_up(code: int) -> NoReturn:
    """End the process at once. A live drawing is hidden first, which shows the cursor again."""
    for shown in _drawings:
        shown.hide()
    leave(code)
