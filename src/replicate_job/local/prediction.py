"""A prediction and its states. Knows no HTTP and no model: what a model does arrives as events.

``starting`` goes to ``processing`` or to an end, ``processing`` to an end, and an end (``succeeded``, ``failed``,
``canceled``, ``aborted``) is never left: whatever arrives after it is dropped.
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
    """The model began."""


class Logged(msgspec.Struct, frozen=True):
    """``text`` as the model printed it, line ends included."""

    text: str


class Produced(msgspec.Struct, frozen=True):
    """A piece of the output. ``part`` where the output is a list and this its next item, else the whole of it."""

    value: Any
    part: bool = False


class Ended(msgspec.Struct, frozen=True):
    """``output`` is the whole output; the pieces that came before it do not matter any more."""

    status: str
    output: Any = None
    error: str | None = None
    metrics: dict[str, Any] = {}


ModelEvent = Started | Logged | Produced | Ended


class PredictionRequest(msgspec.Struct, frozen=True):
    """What was asked for. ``deployment`` is ``owner/name``, or empty; ``cancel_after`` is in seconds.

    ``webhook`` is an address, or empty; ``webhook_events`` those that it hears of.
    """

    model: str
    version: str
    input: dict[str, Any]
    deployment: str = ""
    cancel_after: float | None = None
    webhook: str = ""
    webhook_events: frozenset[str] = frozenset()


class LocalPrediction:
    """What is known of one prediction; only ``apply`` changes it. Times are Unix times in seconds.

    ``events`` is all that happened, in order: a stream is a reading of it from some position on.
    """

    def __init__(self, id: str, number: int, call: PredictionRequest, at: float) -> None:  # noqa: A002 - the API's own name
        self.id, self.number, self.call, self.created_at = id, number, call, at
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
        if len(self._logs) > 1:
            self._logs = ["".join(self._logs)]
        return self._logs[0] if self._logs else ""

    def apply(self, event: ModelEvent, now: float) -> bool:
        """Take an event in; False, and nothing changed, where the prediction had ended already."""
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
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        return True

    def encode(self) -> bytes:
        """The API's object as JSON, with addresses as in ``local.origin``."""
        body = prediction_body(
            id=self.id,
            model=self.call.model,
            version=self.call.version,
            input=self.call.input,
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
            deployment=self.call.deployment,
        )
        return msgspec.json.encode(body)

    def _begin(self, now: float) -> None:
        if self.started_at is None:
            self.status, self.started_at = "processing", now

    def _end(self, event: Ended, now: float) -> None:
        if event.status not in TERMINAL:
            raise ValueError(f"{event.status!r} is not an end")
        self.status, self.error, self.completed_at = event.status, event.error, now
        if event.status == "succeeded":
            self.output = event.output
        spent = {} if self.started_at is None else {"predict_time": max(now - self.started_at, 0.0)}
        self.metrics = {**spent, **event.metrics, "total_time": max(now - self.created_at, 0.0)}


def new_id() -> str:
    """26 letters and digits, as the API's ids are; no path, no meaning."""
    return base64.b32encode(os.urandom(16)).decode().rstrip("=").lower()
