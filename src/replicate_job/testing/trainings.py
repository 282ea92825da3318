"""Scripted trainings. By default only a cancellation changes their state; those that a request created also end."""

from __future__ import annotations

import math
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.resource import training_body

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNNING = frozenset({"starting", "processing"})


class ScriptedTraining(msgspec.Struct, kw_only=True):
    """A training of ``model`` (``owner/name``). If ``version`` is empty, it trains the model's latest version.

    ``status`` may be changed while the server runs. After ``duration`` seconds, the status of a running training
    becomes ``end``, and its ``output`` is shown. ``created`` and ``listed`` are Unix times; from ``listed`` on, the
    list shows the training. ``predict_time`` is in seconds. ``destination`` is the destination in the create request.
    The API does not show it.
    """

    model: str
    version: str = ""
    status: str = "succeeded"
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    output: dict[str, Any] | None = None
    error: str | None = None
    logs: str = ""
    predict_time: float = 0.0
    created: float = msgspec.field(default_factory=time.time)
    duration: float = math.inf
    end: str = "succeeded"
    destination: str = ""
    listed: float = 0.0
    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(13))

    @property
    def status_now(self) -> str:
        is_over = self.status in RUNNING and time.time() >= self.created + self.duration
        return self.end if is_over else self.status

    def cancel(self) -> None:
        """Cancel it. This has no effect on a training that has ended."""
        if self.status_now in RUNNING:
            self.status = "canceled"

    def finish(self) -> None:
        """End it now."""
        self.status = self.end

    def describe(self, origin: str, web: str, version: str) -> Mapping[str, Any]:
        """The training object."""
        status = self.status_now
        return training_body(
            id=self.id,
            model=self.model,
            version=self.version or version,
            input=self.input,
            status=status,
            output=self.output if status == "succeeded" else None,
            error=self.error if status == "failed" else None,
            logs=self.logs,
            created_at=self.created,
            metrics=None if status in RUNNING else {"predict_time": self.predict_time},
            api=origin,
            web=web,
        )
