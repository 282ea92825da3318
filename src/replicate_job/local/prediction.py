"""A prediction and its states. This module does no HTTP and runs no model: a model's actions arrive as events.

The status is ``starting`` at first, and ``processing`` when the model has begun. From either of them, it may become
``succeeded``, ``failed``, ``canceled`` or ``aborted``, which are final. Events that arrive after the end are ignored.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

import msgspec

from replicate_job.local.origin import ORIGIN
from replicate_job.serving.resource import prediction_body, prediction_urls
from replicate_job.wire.prediction import TERMINAL


class Started(msgspec.Struct, frozen=True):
    """The model has begun to run the prediction."""


class Logged(msgspec.Struct, frozen=True):
    """A piece of the log. ``text`` is as the model printed it, with its line ends."""

    text: str


class Produced(msgspec.Struct, frozen=True):
    """A piece of the output.

    With ``part``, ``value`` is the next item of a list; otherwise it is the whole output so far.
    """

    value: Any
    part: bool = False


class Ended(msgspec.Struct, frozen=True):
    """The prediction has ended. ``output`` is the whole output, which replaces the earlier pieces."""

    status: str
    output: Any = None
    error: str | None = None
    metrics: dict[str, Any] = {}


ModelEvent = Started | Logged | Produced | Ended


class PredictionRequest(msgspec.Struct, frozen=True):
    """The facts of a create request.

    ``deployment`` is ``owner/name``, or empty if the request names no deployment. ``cancel_after`` is in seconds; None
    if the prediction has no deadline.

    ``webhook`` is the receiver's address, or empty for no webhooks. ``webhook_events`` are the kinds of events to send
    there. ``webhook_events_filter`` is the request's own field, or None if the request does not have it. ``is_example``
    is whether the input equals the input in the model's ``example.json``.
    """

    model: str
    version: str
    input: dict[str, Any]
    deployment: str = ""
    cancel_after: float | None = None
    webhook: str = ""
    webhook_events: frozenset[str] = frozenset()
    webhook_events_filter: tuple[str, ...] | None = None
    is_example: bool = False


class LocalPrediction:
    """The state of one prediction, which only ``apply`` changes. Times are Unix times in seconds.

    ``events`` has all events in order. A stream may begin to read the list at any position.
    """

    def __init__(self, id: str, number: int, request: PredictionRequest, created_at: float) -> None:  # noqa: A002 - the API's own name
        self.id, self.number, self.request, self.created_at = id, number, request, created_at
        self.started_at: float | None = None
        self.completed_at: float | None = None
        self.deadline: float | None = None
        self.status = "starting"
        self.output: Any = None
        self.error: str | None = None
        self.metrics: dict[str, Any] = {}
        self.events: list[ModelEvent] = []
        self.changed = asyncio.Event()
        self._logs: list[str] = []
        self._parts: list[Any] = []

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def logs(self) -> str:
        # Joined when it is read: joining at each line would take quadratic time.
        if len(self._logs) > 1:
            self._logs = ["".join(self._logs)]
        return self._logs[0] if self._logs else ""

    def apply(self, event: ModelEvent, now: float) -> bool:
        """Change the state by an event. Returns False, and changes nothing, if the prediction had ended before."""
        if self.is_terminal:
            return False
        match event:
            case Started():
                self._begin(now)
            case Logged():
                self._logs.append(event.text)
            case Produced(part=True):
                self._begin(now)
                self._parts.append(event.value)
                self.output = self._parts
            case Produced():
                self._begin(now)
                self.output = event.value
            case Ended():
                self._end(event, now)
        self.events.append(event)
        # Each change has an asyncio.Event of its own, which wakes all its waiters and is never cleared.
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        return True

    def encode(self) -> bytes:
        """The prediction object as JSON. Its addresses have the placeholder of ``local.origin``."""
        body = prediction_body(
            id=self.id,
            model=self.request.model,
            version=self.request.version,
            input=self.request.input,
            status=self.status,
            created_at=self.created_at,
            urls=prediction_urls(self.id, api=ORIGIN, web=ORIGIN, stream=ORIGIN),
            output=self.output,
            logs=self.logs,
            error=self.error,
            started_at=self.started_at,
            completed_at=self.completed_at,
            deadline=self.deadline,
            metrics=self.metrics,
            deployment=self.request.deployment,
            webhook=self.request.webhook,
            webhook_events_filter=self.request.webhook_events_filter,
        )
        return msgspec.json.encode(body)

    def _begin(self, now: float) -> None:
        if self.started_at is None:
            self.status, self.started_at = "processing", now

    def _end(self, event: Ended, now: float) -> None:
        if event.status not in TERMINAL:
            raise ValueError(f"{event.status!r} is not a terminal status")
        self.status, self.error, self.completed_at = event.status, event.error, now
        if event.status == "succeeded":
            self.output = event.output
        # The model's own predict_time overrides ours. No time may be negative, even if the clock was set back.
        measured = {} if self.started_at is None else {"predict_time": max(now - self.started_at, 0.0)}
        self.metrics = {**measured, **event.metrics, "total_time": max(now - self.created_at, 0.0)}


def new_id() -> str:
    """A random id of 26 letters and digits, like the API's ids. It can be used as the name of a file."""
    return base64.b32encode(os.urandom(16)).decode().rstrip("=").lower()
