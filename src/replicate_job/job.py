"""What to run, and what came back. Plain frozen values without I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from replicate_job.errors import PredictionCanceledError, PredictionFailedError, PredictionUnfinishedError, RowError

FUNCTION = "replicate_run_prediction"
"""The one function that a job file can name here."""
EVENTS = ("start", "output", "logs", "completed")
"""What a webhook can be sent for: the words of ``webhook_events_filter``."""


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model, its input, and how long to wait. Field names are those of a ``run.xs`` file.

    ``model`` is ``owner/name``, ``owner/name:version``, a bare version id (64 hex digits) or
    ``deployments/owner/name``. ``poll_interval`` is in seconds; times ``max_poll_attempts`` it is the
    waiting budget. ``cancel_after`` is the API's ``Cancel-After`` (``30``, ``90s``, ``5m``, ``1h30m``).
    ``allow_unknown`` sends inputs that the model's schema does not name. ``env`` names environment variables that
    must be set. A ``pathlib.Path`` anywhere in ``input_data``
    is a local file to send.
    """

    model: str
    input_data: dict[str, Any] = {}
    wait_for_completion: bool = True
    poll_interval: Annotated[float, msgspec.Meta(gt=0)] = 1
    max_poll_attempts: Annotated[int, msgspec.Meta(ge=1)] = 60
    cancel_after: str | None = None
    webhook: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]")] | None = None
    webhook_events_filter: tuple[Literal["start", "output", "logs", "completed"], ...] = ()
    allow_unknown: bool = False
    title: str = "Replicate Run AI Model"
    env: tuple[str, ...] = ()

    @property
    def budget(self) -> float:
        """Seconds to wait for the end, counted from the create request."""
        return self.poll_interval * self.max_poll_attempts


class Result(msgspec.Struct, frozen=True):
    """A prediction as it was last seen, in the ten fields of the seed's response, and the files kept.

    ``created_at`` and ``completed_at`` are ISO 8601 as the API wrote them; ``metrics`` holds seconds
    (``predict_time``, ``total_time``). ``files`` is empty where nothing was saved. ``key`` is the job's
    name in the journal. ``sent`` names the local files of the input by their place in it, as
    ``{"images[1]": "cat.png"}``.

    In a batch, ``line`` is the row's (from 1), and ``problem`` says what kept the row from a result that can be used:
    with the status ``error`` no prediction is known (then ``prediction_id`` is empty), with another the outputs could
    not be kept.
    """

    prediction_id: str
    status: str
    model: str
    input: dict[str, Any]
    output: Any = None
    error: Any = None
    created_at: str | None = None
    completed_at: str | None = None
    urls: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    files: tuple[Path, ...] = ()
    key: str = ""
    logs: str = ""
    line: int = 0
    problem: str = ""
    sent: dict[str, str] = {}

    def to_dict(self) -> dict[str, Any]:
        """The ten fields in the seed's order, and ``files`` as strings where files were saved."""
        response = {name: getattr(self, name) for name in self.__struct_fields__[:10]}
        if self.files:
            response["files"] = [str(path) for path in self.files]
        return response

    def raise_for_status(self) -> Result:
        """Return itself when the prediction succeeded.

        Raises PredictionFailedError, PredictionCanceledError (also for ``aborted``), or
        PredictionUnfinishedError for every status that is not an end. A row of a batch with a ``problem`` raises
        RowError.
        """
        if self.problem:
            raise RowError(f"line {self.line}: {self.problem}", self)
        match self.status:
            case "succeeded":
                return self
            case "failed":
                raise PredictionFailedError(f"prediction {self.prediction_id} failed: {self.error}", self)
            case "canceled" | "aborted":
                raise PredictionCanceledError(f"prediction {self.prediction_id} was {self.status}", self)
        raise PredictionUnfinishedError(f"prediction {self.prediction_id} is still {self.status}", self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002 - IPython's signature
        from replicate_job.notebook import mimebundle  # noqa: PLC0415 - only a notebook pays for it

        bundle: dict[str, Any] = mimebundle(self)
        return bundle
