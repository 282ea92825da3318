"""The counts of this process, and hooks for OpenTelemetry's spans.

The flow always calls the hooks. The hooks in this module only count. The hooks in ``otel`` also create spans.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, Self

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds of the histograms' buckets, in seconds."""


class Latencies:
    """A histogram of durations in seconds. The last of ``buckets`` counts durations above all bounds."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Counts:
    """What this process has done since it started, in all its sessions.

    ``in_flight`` is the number of jobs that run now. ``created`` counts the predictions that this process made.
    ``ended`` maps a status to the number of predictions whose end this process observed. ``throttled`` maps a kind of
    request to its number of 429s. ``uncertain`` counts jobs whose prediction may or may not exist. ``creates`` are the
    latencies of create requests without a blocking wait, from sending to the prediction's id; ``blocking_creates`` are
    the latencies of create requests with a blocking wait. ``ends`` are the times from the create request to the
    observed end.
    """

    def __init__(self) -> None:
        self.in_flight = self.created = self.uncertain = 0
        self.ended, self.throttled = Counter[str](), Counter[str]()
        self.creates, self.blocking_creates, self.ends = Latencies(), Latencies(), Latencies()
        self._rounds: dict[object, float] = {}

    def polled(self, poller: object, began: float) -> None:
        """Note that ``poller`` has polled all its predictions. ``began`` is this module's ``now`` before the poll."""
        self._rounds[poller] = began

    def rests(self, poller: object) -> None:
        """Note that ``poller`` has nothing to poll."""
        self._rounds.pop(poller, None)

    @property
    def lag(self) -> float | None:
        """The greatest age, in seconds, of the known states of running predictions. None if nothing is polled."""
        rounds = list(self._rounds.values())
        return now() - min(rounds) if rounds else None


PREDICTION, TRAINING = "generate_content", "train"
"""The operations of a job, with the names of OpenTelemetry's conventions."""

COUNTS = Counts()
"""The counts of this process."""
now = time.monotonic


class Outcome(Protocol):
    """The parts of a ``Result`` that spans show."""

    @property
    def prediction_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def input(self) -> Mapping[str, Any]: ...
    @property
    def output(self) -> Any: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...


class Ended(Protocol):
    """The parts of an ended prediction that spans show."""

    @property
    def status(self) -> str: ...
    @property
    def version(self) -> str | None: ...


class Progress(Protocol):
    """The parts of a batch's tally that spans show."""

    succeeded: int
    failed: int
    wrong: int
    stored: int
    created: int


class JobScope:
    """A running job, as a context manager. It has no state, so one object serves all jobs."""

    def __enter__(self) -> Self:
        COUNTS.in_flight += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        COUNTS.in_flight -= 1

    def over(self, result: Outcome) -> None:
        """Record the job's result."""


class BatchScope:
    """A running batch, as a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the batch."""

    def failed(self, error: BaseException) -> None:
        """Record the error that stopped the batch."""


_JOB, _BATCH, _STEP = JobScope(), BatchScope(), nullcontext()


class Telemetry:
    """The hooks of a session. The hooks of this class only count, and need no object for each job."""

    def job(self, operation: str, model: str, key: str, batch: str | None) -> JobScope:  # noqa: ARG002 - a subclass uses them
        """A context manager around a job. ``operation`` is PREDICTION or TRAINING."""
        return _JOB

    def batch(self, model: str, batch: str, tally: Progress) -> BatchScope:  # noqa: ARG002
        """A context manager around a batch, and around the jobs of its rows."""
        return _BATCH

    def submit(self, model: str, batch: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """A context manager around the submission of a batch to a fleet."""
        return _STEP

    def trace(self) -> str:
        """The caller's trace as text, for ``part`` on other machines. Empty if there is none."""
        return ""

    def part(self, model: str, key: str, batch: str, trace: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """A context manager around this process's part of a fleet's job. Its steps belong to ``trace``."""
        return _STEP

    def step(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """A context manager around a step of the current job."""
        return _STEP

    def tried(self, sends: int, throttles: int) -> None:
        """Record how many create requests were sent for the current job, and how many of them got a 429."""

    def created(self, prediction_id: str, seconds: float, *, blocking: bool) -> None:  # noqa: ARG002
        """Record a prediction of the current job, ``seconds`` after its create request was sent.

        A ``blocking`` create request is kept open until the prediction ends, for at most 60 s.
        """
        COUNTS.created += 1
        (COUNTS.blocking_creates if blocking else COUNTS.creates).add(seconds)

    def ended(self, prediction: Ended, seconds: float) -> None:
        """Record the end of the current job's prediction, ``seconds`` after its create request was sent."""
        COUNTS.ended[prediction.status] += 1
        COUNTS.ends.add(seconds)


def is_traced(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry is in use in this process.

    It is in use if the program has imported it, as ``opentelemetry-instrument`` does, or if a variable ``OTEL_…`` is
    set. With ``OTEL_SDK_DISABLED=true`` it is never in use.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return "opentelemetry" in sys.modules or any(name.startswith("OTEL_") for name in environment)


def flush() -> None:
    """Let OpenTelemetry's SDK export its data now, for a process that exits at once and so runs no exit handlers."""
    if module := sys.modules.get("replicate_job.otel"):
        module.flush()
