"""Opens the reporter of a command: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicate_job.cli.output import LineReporter
from replicate_job.cli.streams import can_draw

if TYPE_CHECKING:
    from replicate_job.batches.progress import Tally
    from replicate_job.cli.batch_progress import ProgressReporter


@contextmanager
def open_reporter(*, verbose: bool, quiet: bool, still: bool = False) -> Iterator[LineReporter]:
    """Open a live line on a terminal, else a reporter of plain lines. With ``still``, there is no live line."""
    if still or quiet or not can_draw():
        yield LineReporter(verbose=verbose, quiet=quiet)
        return
    from replicate_job.cli.live_job import LiveReporter  # noqa: PLC0415 - rich is slow to import

    with LiveReporter(verbose=verbose) as reporter:
        yield reporter


def open_progress(tally: Tally, *, verbose: bool, quiet: bool) -> ProgressReporter:
    """Make a live block on a terminal, else a reporter of plain lines. The caller enters its context."""
    if quiet or not can_draw():
        from replicate_job.cli.batch_progress import ProgressReporter  # noqa: PLC0415 - for batches only

        return ProgressReporter(tally, verbose=verbose, quiet=quiet)
    from replicate_job.cli.live_batch import LiveProgress  # noqa: PLC0415 - rich is slow to import

    return LiveProgress(tally, verbose=verbose)
