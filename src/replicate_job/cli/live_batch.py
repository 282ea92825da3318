"""The live block of a batch on a terminal: a bar, and a line of facts below it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult  # noqa: TID251 - used as a type only
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

from replicate_job.batches.progress import Tally
from replicate_job.cli.batch_progress import ProgressReporter, Speed, done, failed, limit, ongoing, predict_time
from replicate_job.cli.console import LiveConsole
from replicate_job.cli.streams import drawing
from replicate_job.quantity import roughly

NARROWEST, WIDEST = 10, 40
"""The least and the greatest width of the bar, in cells of the terminal."""

_GAP = "  "


def fit(facts: list[str], width: int) -> list[str]:
    """The first of the facts: as many as fit into ``width`` cells with a gap between them. Empty facts are left out."""
    shown: list[str] = []
    for fact in filter(None, facts):
        if len(_GAP.join([*shown, fact])) > width:
            break
        shown.append(fact)
    return shown


class Block:
    """Renders the tally at the current width of the terminal."""

    def __init__(self, tally: Tally, speed: Speed) -> None:
        self._tally, self._speed = tally, speed

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._bar(console, options)
        yield self._facts(options.max_width)

    def _bar(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tally, left = self._tally, self._speed.left
        if tally.total is None:
            yield _row(f"{done(tally, '')} done")
            return
        facts = [done(tally, "/"), f"{roughly(left)} left" if left is not None else ""]
        beside = fit(facts, options.max_width - NARROWEST - len(_GAP))
        if beside:
            size = min(WIDEST, options.max_width - len(_GAP.join(["", *beside])))
            bar = list(console.render(ProgressBar(tally.total or 1, tally.over, size), options))
            yield from bar
            yield Segment(" " * (size - Segment.get_line_length(bar)))  # without colours, rich draws a shorter bar
        yield _row(_GAP.join(["", *beside] if beside else facts[:1]))

    def _facts(self, width: int) -> Text:
        tally = self._tally
        shown = fit([failed(tally), *ongoing(tally, self._speed.rate), limit(tally), predict_time(tally)], width)
        row = _row(_GAP.join(shown))
        if failed(tally) in shown:
            row.stylize("red", 0, len(failed(tally)))
        return row


def _row(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="crop")


class LiveProgress(ProgressReporter):
    """Reports a batch with a live block. At the context's end the block disappears, and the lines above it stay."""

    every = 0.2

    def __init__(self, tally: Tally, *, verbose: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(tally, verbose=verbose, now=now)
        self._console = LiveConsole()
        self._block = Block(tally, self._speed)
        self._live = self._new_live()
        self._drawing = drawing(self)
        self._lines: list[str] = []
        self._drawn = now()

    def _new_live(self) -> Live:
        return Live(
            self._block,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        self._drawing.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self._drawing.__exit__(kind, error, at)
        self.show(self._now())
        self.hide()

    def hide(self) -> None:
        with suppress(OSError):  # the terminal is gone
            self._live.stop()

    def reveal(self) -> None:
        """Draw a new block below the last output. A stopped block, started again, would appear at its old place."""
        self._live = self._new_live()
        with suppress(OSError):
            self._live.start(refresh=True)

    def error(self, line: str) -> None:
        super().error(line)
        self.show(self._now())

    def show(self, now: float) -> None:
        """Print the lines that ``line`` has collected, and draw the block below them."""
        lines, self._lines, self._drawn = self._lines, [], now
        with suppress(OSError):  # the terminal is gone
            if lines:
                self._console.tell("\n".join(lines))
            else:
                self._live.refresh()

    def line(self, text: str, level: str = "") -> None:  # noqa: ARG002 - level is for logs of JSON, which have no live block
        """Print the line now, or together with later lines soon, because each drawing takes a millisecond."""
        self._lines.append(text)
        if self._now() - self._drawn >= self.every / 2:
            self.show(self._now())
