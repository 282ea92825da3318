"""What goes out, and how: data to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.cli.streams import tell, write
from replicate_job.job import Result
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.progress import read_progress

HEARTBEAT = 15.0
"""Seconds between two lines about the same status, under ``-v``."""


def print_json(value: Any) -> None:
    """Indented on a terminal, one line elsewhere."""
    text = msgspec.json.encode(value, enc_hook=str)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    write(text + b"\n")


def print_response(result: Result) -> None:
    """Print the ten fields, and the files by their shortest path."""
    response = result.to_dict()
    if result.files:
        response["files"] = [shorten(path) for path in result.files]
    print_json(response)


def shorten(path: Path) -> str:
    """Relative to the working directory where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class LineReporter:
    """Lines to stderr: warnings, and with ``verbose`` notes and a heartbeat; with ``quiet`` nothing."""

    def __init__(
        self, *, verbose: bool = False, quiet: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._verbose, self._quiet, self._now = verbose, quiet, now
        self._status, self._told = "", -HEARTBEAT

    def warn(self, line: str) -> None:
        if not self._quiet:
            self.line(f"warning: {line}")

    def note(self, line: str) -> None:
        if self._verbose:
            self.line(line)

    def saw(self, prediction: Prediction) -> None:
        now = self._now()
        if prediction.status == self._status and now - self._told < HEARTBEAT:
            return
        self._status, self._told = prediction.status, now
        progress = read_progress(prediction.logs)
        self.note(f"{prediction.id} {prediction.status}" + (f" {progress.fraction:.0%}" if progress else ""))

    def line(self, text: str) -> None:
        tell(text)


@contextmanager
def open_reporter(*, verbose: bool, quiet: bool, still: bool = False) -> Iterator[LineReporter]:
    """A live line on a terminal, plain lines elsewhere. ``still`` when the terminal shows the output itself."""
    if still or quiet or not sys.stderr.isatty() or os.environ.get("TERM") in {"dumb", "unknown"}:
        yield LineReporter(verbose=verbose, quiet=quiet)
        return
    from replicate_job.cli.live import LiveReporter  # noqa: PLC0415 - rich is for those who see it

    with LiveReporter(verbose=verbose) as reporter:
        yield reporter
