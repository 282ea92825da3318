"""Reports the progress of a batch: its speed, its counts in words, and a line every 15 seconds on stderr."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from replicate_job.batches.progress import Tally
from replicate_job.cli.repeats import Repeats
from replicate_job.cli.streams import tell
from replicate_job.quantity import duration, rate, roughly
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.stand_in import is_notice, notices

FIRST, EVERY = 5.0, 15.0
"""``FIRST``: seconds until the first line of progress. ``EVERY``: seconds between two lines."""

_WINDOW = 60.0
_ROWS = 10
_YOUNG = 2.0
_SMOOTHING = 10.0


class Speed:
    """Measures how many rows end a second, and estimates how long the other rows will take.

    The rate is measured over the last 60 s, or over the last 10 rows if those rows took more than 60 s. Call ``update``
    at least once a second.
    """

    def __init__(self, now: float) -> None:
        self._samples = deque([(now, 0)])
        self._at = now
        self.rate: float | None = None
        """Rows a second; None until the first row has ended, and in the first 2 s."""
        self.left: float | None = None
        """Seconds until all rows have ended; None if that cannot be estimated."""

    def update(self, tally: Tally, now: float) -> None:
        self.rate = self._measure(tally.over - tally.stored, now)
        self.left = self._smooth(time_left(tally, self.rate), now - self._at)
        if self.left is not None:
            self.left = max(self.left, shortest(tally))
        self._at = now

    def _measure(self, over: int, now: float) -> float | None:
        samples = self._samples
        if over > samples[-1][1] and now >= samples[-1][0] + 1:
            samples.append((now, over))
        while len(samples) > 1 and now - samples[1][0] >= _WINDOW and over - samples[1][1] >= _ROWS:
            samples.popleft()
        since, before = samples[0]
        return (over - before) / (now - since) if over and now - since >= _YOUNG else None

    def _smooth(self, guess: float | None, passed: float) -> float | None:
        """Reduce the estimate by ``passed`` seconds, and move the result towards ``guess``. Return the new estimate.

        It is moved by a factor, not by a difference, because the first guess may be a hundred times too long.
        """
        if guess is None or self.left is None:
            return guess
        expected = max(1.0, self.left - passed)
        return expected * math.pow(max(1.0, guess) / expected, -math.expm1(-passed / _SMOOTHING))


def time_left(tally: Tally, speed: float | None) -> float | None:
    """Seconds until all rows have ended, at ``speed`` rows a second.

    None if the total or the speed is unknown, if all rows have ended, or if too few have ended for an estimate.
    """
    if tally.total is None or tally.total <= tally.over or not speed:
        return None
    if tally.over - tally.stored < tally.running / 4:  # too few rows have ended to predict the others
        return None
    return max((tally.total - tally.over) / speed, shortest(tally))


def shortest(tally: Tally) -> float:
    """The fewest seconds in which the rate limit lets a prediction be created for each row that has none yet."""
    return tally.paused + (uncreated(tally) / tally.pace if tally.pace else 0.0)


def uncreated(tally: Tally) -> int:
    """The number of rows without a prediction. If the total is not known, only rows that were read are counted."""
    if tally.total is None:
        return tally.waiting
    return max(0, tally.total - tally.over - tally.running - tally.saving)


def done(tally: Tally, of: str) -> str:
    return f"{tally.over:,}" + (f"{of}{tally.total:,}" if tally.total is not None else "")


def failed(tally: Tally) -> str:
    """The number of rows that failed or have a wrong input, in words; an empty text if there are no such rows."""
    return f"{tally.failed + tally.wrong:,} failed" if tally.failed + tally.wrong else ""


def ongoing(tally: Tally, speed: float | None) -> list[str]:
    """The counts of running and waiting rows in words. A row runs until its files are saved; an unread row waits."""
    rows = [f"{tally.running + tally.saving:,} running", f"{uncreated(tally):,} waiting"]
    return rows if speed is None else [*rows, rate(speed)]


def predict_time(tally: Tally) -> str:
    return f"{duration(tally.predict_time)} predict time" if tally.predict_time else ""


def seconds_paused(tally: Tally) -> str:
    return f"{math.ceil(tally.paused)} s" if tally.paused > 0 else ""


def limit(tally: Tally) -> str:
    if tally.paused > 0:
        return f"throttled, {seconds_paused(tally)}"
    return f"limit {rate(tally.pace)}" if tally.pace is not None else ""


def heartbeat(tally: Tally, speed: float | None, left: float | None) -> str:
    """One line about the progress. ``speed`` is in rows a second, ``left`` in seconds."""
    facts = [
        f"{done(tally, ' of ')} done",
        failed(tally),
        *ongoing(tally, speed),
        predict_time(tally),
        f"about {roughly(left)} left" if left is not None else "",
        f"throttled, waiting {seconds_paused(tally)}" if tally.paused > 0 else "",
    ]
    return ", ".join(filter(None, facts))


class ProgressReporter:
    """The ``Reporter`` of a batch, which also writes a line about the tally every 15 seconds.

    With ``quiet`` it writes errors only. Otherwise it writes one warning of each kind a minute. With ``verbose`` it
    writes every warning, and notes too. It is a context manager: at its exit it writes the warnings that still wait.
    """

    every = 1.0
    """Seconds between two readings of the tally."""

    def __init__(
        self, tally: Tally, *, verbose: bool = False, quiet: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._tally, self._verbose, self._quiet, self._now = tally, verbose and not quiet, quiet, now
        self._speed, self._repeats = Speed(now()), Repeats()
        self._next = now() + FIRST
        self._notices: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._tell_due(math.inf)

    def error(self, line: str) -> None:
        self.line(f"error: {line}")

    def warn(self, line: str) -> None:
        if is_notice(line):
            if line in self._notices:
                return
            self._notices.add(line)
        if not self._quiet and (self._verbose or self._repeats.is_new(line, self._now())):
            self.line(f"warning: {line}")

    def tell(self, line: str) -> None:
        if not self._quiet:
            self.line(line)

    def note(self, line: str) -> None:
        if self._verbose:
            self.line(line, "debug")

    def observed(self, prediction: Prediction) -> None:
        """Do nothing: the tally counts the predictions."""

    def answered(self, logs: str) -> None:
        """Warn once of each stand-in that the logs name. The summary names the inputs that a stand-in ignored."""
        for line in notices(logs):
            self.warn(line)

    async def beat(self) -> None:
        """Call ``tick`` every ``every`` seconds, until the task is canceled."""
        while True:
            self.tick()
            await asyncio.sleep(self.every)

    def tick(self) -> None:
        now = self._now()
        self._speed.update(self._tally, now)
        self._tell_due(now)
        self.show(now)

    def _tell_due(self, now: float) -> None:
        for line in self._repeats.due(now):
            self.line(f"warning: {line}")

    def show(self, now: float) -> None:
        if not self._quiet and now >= self._next:
            self._next = now + EVERY
            self.line(heartbeat(self._tally, self._speed.rate, self._speed.left))

    def line(self, text: str, level: str = "") -> None:
        tell(text, level)
