"""Scripted trainings: they stay as they are, unless they are canceled."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.resource import training_body

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNNING = frozenset({"starting", "processing"})


class ScriptedTraining(msgspec.Struct, kw_only=True):
    """A training of ``model`` (``owner/name``), whose latest version it trains unless ``version`` names one.

    ``status`` may be changed while the server runs. ``created`` is a Unix time, ``predict_time`` in seconds.
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
    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(13))

    def cancel(self) -> None:
        """Cancel it. This has no effect on a training that has ended."""
        if self.status in RUNNING:
            self.status = "canceled"

    def describe(self, origin: str, web: str, version: str) -> Mapping[str, Any]:
        """The training object."""
        return training_body(
            id=self.id,
            model=self.model,
            version=self.version or version,
            input=self.input,
            status=self.status,
            output=self.output,
            error=self.error,
            logs=self.logs,
            created_at=self.created,
            metrics=None if self.status in RUNNING else {"predict_time": self.predict_time},
            api=origin,
            web=web,
        )
