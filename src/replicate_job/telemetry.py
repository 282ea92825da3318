"""What is seen of jobs from outside: counts of this process, and the hooks that OpenTelemetry's spans hang on.

The flow calls the hooks always. By themselves they count, and nothing else; ``otel`` has those that trace.
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
"""Upper bounds of the latencies' buckets, in seconds."""


class Latencies:
    """How many seconds something took, each time. The last of ``buckets`` is for what took longer than all bounds."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Counts:
    """What this process has done since it began, in all its sessions together.

    ``in_flight`` jobs are being run now. ``created`` predictions are those that it made, ``ended`` by status those
    whose end it saw, ``throttled`` by kind of request the answers 429. ``uncertain`` jobs may have a prediction or not.
    ``creates`` are the latencies of create requests, from sending to the prediction's id; ``blocking_creates`` those
    that were kept open for the end of the prediction. ``ends`` are from the create request to the known end.
    """

    def __init__(self) -> None:
        self.in_flight = self.created = self.uncertain = 0
        self.ended, self.throttled = Counter[str](), Counter[str]()
        self.creates, self.blocking_creates, self.ends = Latencies(), Latencies(), Latencies()
        self._rounds: dict[object, float] = {}

    def polled(self, poller: object, began: float) -> None:
        """Note that ``poller`` has asked for all its predictions; ``began`` is this module's ``now`` before that."""
        self._rounds[poller] = began

    def rests(self, poller: object) -> None:
        """Note that there is nothing to poll for."""
        self._rounds.pop(poller, None)

    @property
    def lag(self) -> float | None:
        """Seconds by which what is known of running predictions is old at most; None where none is polled for."""
        rounds = list(self._rounds.values())
        return now() - min(rounds) if rounds else None


PREDICTION, TRAINING = "generate_content", "train"
"""What a job does, in the words of OpenTelemetry's conventions where they have one."""

COUNTS = Counts()
"""Of this process."""
now = time.monotonic


class Outcome(Protocol):
    """A ``Result``, as far as it is shown."""

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
    """A prediction at its end, as far as it is shown."""

    @property
    def status(self) -> str: ...
    @property
    def version(self) -> str | None: ...


class Progress(Protocol):
    """The tally of a batch, as far as it is shown."""

    succeeded: int
    failed: int
    wrong: int
    stored: int
    created: int


class JobScope:
    """A job while it is run, as a context manager. It has no state: one serves all jobs."""

    def __enter__(self) -> Self:
        COUNTS.in_flight += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        COUNTS.in_flight -= 1

    def over(self, result: Outcome) -> None:
        """Note how the job came out."""


class BatchScope:
    """A batch while it is run, as a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""

    def failed(self, error: BaseException) -> None:
        """Note the error that stopped it."""


_JOB, _BATCH, _STEP = JobScope(), BatchScope(), nullcontext()


class Telemetry:
    """The hooks of a session. These count, without an object a job."""

    def job(self, operation: str, model: str, key: str, batch: str | None) -> JobScope:  # noqa: ARG002 - for those that trace
        """Begin a job, to be entered. ``operation`` is PREDICTION or TRAINING."""
        return _JOB

    def batch(self, model: str, batch: str, tally: Progress) -> BatchScope:  # noqa: ARG002
        """Begin a batch, to be entered. Its rows are begun inside."""
        return _BATCH

    def submit(self, model: str, batch: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Begin the submit of a batch to a fleet, to be entered."""
        return _STEP

    def trace(self) -> str:
        """What other machines need to continue the caller's trace: see ``part``. Empty where there is none."""
        return ""

    def part(self, model: str, key: str, batch: str, trace: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Begin what this process does of a fleet's job, to be entered. Its steps belong to that trace."""
        return _STEP

    def step(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Begin a step of the current job, to be entered."""
        return _STEP

    def tried(self, sends: int, throttles: int) -> None:
        """Note how many create requests were sent for the current job, and how many were answered 429."""

    def created(self, prediction_id: str, seconds: float, *, blocking: bool) -> None:  # noqa: ARG002
        """Note the prediction that was made for the current job, ``seconds`` after its create request was sent.

        A ``blocking`` create request is kept open for the prediction's end, 60 s at most.
        """
        COUNTS.created += 1
        (COUNTS.blocking_creates if blocking else COUNTS.creates).add(seconds)

    def ended(self, prediction: Ended, seconds: float) -> None:
        """Note the end of the current job's prediction, ``seconds`` after its create request was sent."""
        COUNTS.ended[prediction.status] += 1
        COUNTS.ends.add(seconds)


def is_traced(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry is in use in this process.

    It is where the program has imported it, as ``opentelemetry-instrument`` does, or a variable ``OTEL_…`` is set; and
    not with ``OTEL_SDK_DISABLED=true``.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return "opentelemetry" in sys.modules or any(name.startswith("OTEL_") for name in environment)


def flush() -> None:
    """Have OpenTelemetry's SDK export what it holds: a process that ends at once runs no handlers for that."""
    if module := sys.modules.get("replicate_job.otel"):
        module.flush()
