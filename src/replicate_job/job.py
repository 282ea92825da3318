"""A job and its result, as frozen values without I/O."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from replicate_job.base_errors import ReplicateJobError

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

    from replicate_job.pricing.charge import Charge

FUNCTION = "replicate_run_prediction"
"""The only function that a job file may name."""
EVENTS = ("start", "output", "logs", "completed")
"""The events that a webhook can report, as values of ``webhook_events_filter``."""
POLL_INTERVAL, MAX_POLL_ATTEMPTS = 1, 60
"""The original run job's defaults, for a file without these fields."""


Kind = Literal["prediction", "training"]
Kept = Path | Any
"""The place of a kept file: a ``Path``, or a ``str`` with the URL of an object in a store.

``Any`` stands for the ``str``, so that type checkers let programs with a folder use it as a ``Path``.
"""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def read_kept(text: str) -> Kept:
    """A kept file from its text in a journal or a record."""
    return text if _URL.match(text) else Path(text)


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that gets a job after all attempts of the job's own model have failed: see ``Job.fallback``.

    ``inputs`` maps an input of the job to this model's name for it; False leaves the input out. All other inputs keep
    their names. ``input_data`` is then merged over the result.
    """

    model: str
    inputs: dict[str, str | Literal[False]] = {}
    input_data: dict[str, Any] = {}


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model, its input, and how long to wait. Field names are those of a ``run.xs`` file.

    ``model`` is ``owner/name``, ``owner/name:version``, a bare version id (64 hex digits) or
    ``deployments/owner/name``. A ``pathlib.Path`` anywhere in ``input_data`` is a local file to send. Bytes, open files
    and pictures are files to send too; ``run``, ``arun``, ``stream``, ``astream`` and ``batch`` read them.
    ``poll_interval`` is in seconds. None means 1 with ``max_poll_attempts``, and otherwise pauses that grow from 1 to
    5. The time to wait is ``poll_interval`` multiplied by ``max_poll_attempts``; with ``max_poll_attempts=None`` there
    is no limit. ``cancel_after`` is the API's ``Cancel-After`` (``30``, ``90s``, ``5m``, ``1h30m``). ``allow_unknown``
    sends inputs that the model's schema does not name. ``env`` names environment variables that must be set. With a
    ``destination`` (``owner/name``) the job is a training of the model's version, and the destination gets the new
    version. ``fallback`` are models that get the job, one after the other, after all attempts of its own model have
    failed. Each of them must accept the job's input.
    """

    model: str
    input_data: dict[str, Any] = {}
    wait_for_completion: bool = True
    poll_interval: Annotated[float, msgspec.Meta(gt=0)] | None = None
    max_poll_attempts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    cancel_after: str | None = None
    webhook: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]")] | None = None
    webhook_events_filter: tuple[Literal["start", "output", "logs", "completed"], ...] = ()
    allow_unknown: bool = False
    title: str = "Replicate Run AI Model"
    env: tuple[str, ...] = ()
    destination: str | None = None
    fallback: tuple[Fallback, ...] = ()

    @property
    def kind(self) -> Kind:
        """``training`` for a job with a destination, else ``prediction``."""
        return "training" if self.destination else "prediction"

    @property
    def interval(self) -> float | None:
        """Seconds between two polls. None: the pauses grow."""
        return self.poll_interval or (None if self.max_poll_attempts is None else POLL_INTERVAL)

    @property
    def budget(self) -> float | None:
        """Seconds to wait for the end, counted from the create request. None for no limit."""
        if self.max_poll_attempts is None:
            return None
        return (self.poll_interval or POLL_INTERVAL) * self.max_poll_attempts


class Result(msgspec.Struct, frozen=True):
    """A prediction as last observed, in the ten fields of the original run job's response, and the saved files.

    ``created_at`` and ``completed_at`` are ISO 8601 as the API wrote them. ``metrics`` holds seconds (``predict_time``,
    ``total_time``). ``files`` are paths, or the URLs (``str``) of objects in a store; empty if nothing was saved.
    ``key`` is the job's key in the journal. ``sent`` maps the position of each file in the input to its name:
    ``{"images[1]": "cat.png"}``. ``stand_in`` names what answered in place of the model, such as a stand-in of the
    local server, and what the stand-in left out; empty if the model itself ran. ``cost`` is computed from ``price``: a
    name in the price tables, or a price itself; empty for none.

    In a batch, ``line`` is the row's line (from 1), and ``problem`` says why the row has no usable result. With the
    status ``error`` no prediction is known, and ``prediction_id`` is empty. With a ``problem`` and any other status,
    the outputs could not be saved. ``grid`` has the values of the row's combination if the batch has a grid.

    ``earlier`` are the attempts before this one, oldest first, and ``model`` is the model that answered. ``reused``:
    the prediction was made for another job, or for another row of the batch, and was not paid for again. A chain's
    result is the result of its last step, or of the first step that did not succeed. ``steps`` has the results of the
    steps that ran, by their names.
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
    files: tuple[Kept, ...] = ()
    key: str = ""
    logs: str = ""
    line: int = 0
    problem: str = ""
    sent: dict[str, str] = {}
    stand_in: str = ""
    earlier: tuple[Result, ...] = ()
    reused: bool = False
    grid: dict[str, Any] = {}
    price: Any = ""
    steps: dict[str, Result] = {}

    @property
    def kind(self) -> Kind:
        """Whether it is a training's or a prediction's result, by its URL at the API."""
        return "training" if "/trainings/" in self.urls.get("get", "") else "prediction"

    @property
    def cost(self) -> Decimal | None:
        """The cost of the prediction in USD, from its price and its usage. None if the price or the usage is not known.

        The cost of a chain includes all its steps and their earlier attempts.

        It is an estimate, because the API names no price. Deployments and private models also bill setup and idle time,
        which is not included. Raises JobError if the user's file of prices cannot be read.
        """
        charge = self.charge
        return charge.cost if charge else None

    @property
    def cost_source(self) -> Literal["table", "user", "learned"] | None:
        """The source of the price: the package's table, the user, or the hardware that the API names.

        None also for a chain whose steps have prices from different sources.
        """
        charge = self.charge
        return charge.source if charge else None

    @property
    def price_date(self) -> date | None:
        """The day on which the price was read. None if it is not known. For a chain, the earliest day."""
        charge = self.charge
        return charge.date if charge else None

    @property
    def charge(self) -> Charge | None:
        """The cost with its details, computed at each access. For a chain, the total of all its ``attempts``."""
        if self.steps:
            from replicate_job.pricing.charge import total  # noqa: PLC0415 - only those who ask pay for it

            return total([each.charge for each in self.attempts if each.prediction_id])
        if self.reused or not self.price:
            return None
        from replicate_job.pricing.charge import charge_by  # noqa: PLC0415 - as above
        from replicate_job.pricing.usage import Usage  # noqa: PLC0415 - as above

        return charge_by(self.price, Usage(self.status, self.metrics, self.output, self.input), self.stand_in)

    @property
    def predictions(self) -> tuple[Result, ...]:
        """The results of a chain's steps. For anything else, only this result."""
        return tuple(self.steps.values()) if self.steps else (self,)

    @property
    def attempts(self) -> tuple[Result, ...]:
        """All predictions for this result, each after its earlier attempts.

        For a chain, the predictions of all its steps.
        """
        if not self.steps:
            return (*self.earlier, self)
        return tuple(attempt for each in self.steps.values() for attempt in (*each.earlier, each))

    @property
    def gathered(self) -> tuple[Result, ...]:
        """The results whose outputs make up the output: several if a chain's last step has ``for_each``.

        For anything else, only this result.
        """
        step, mark, _ = (list(self.steps) or [""])[-1].partition("[")
        if not mark or self.status != "succeeded" or self.problem:
            return (self,)
        return tuple(each for name, each in self.steps.items() if name.startswith(f"{step}["))

    @property
    def text(self) -> str | None:
        """The output's text: a string as it is, or the strings of a list joined without separators.

        None if the output is not text: no output, an empty list, a number, an object, a list with other items than
        strings, or a file (a URL at ``replicate.delivery`` or at the API itself, or a data URL).
        """
        from replicate_job.outputs.discover import as_text  # noqa: PLC0415 - only those who ask pay for it

        return as_text(self.output, origin=self.urls.get("get"))

    def to_dict(self) -> dict[str, Any]:
        """The ten fields in the original run job's order, and ``files`` as strings if files were saved.

        A row of a batch also has ``line``, ``key`` and ``problem``, and ``grid`` and ``steps`` if it has some.
        """
        response: dict[str, Any] = {
            "prediction_id": self.prediction_id,
            "status": self.status,
            "model": self.model,
            "input": self.input,
            "output": self.output,
            "error": self.error,
            "created_at": self.created_at,
            "completed_at": self.completed_at,
            "urls": self.urls,
            "metrics": self.metrics,
        }
        if self.files:
            response["files"] = [str(path) for path in self.files]
        if self.line:
            response["line"], response["key"], response["problem"] = self.line, self.key, self.problem
        if self.grid:
            response["grid"] = self.grid
        if self.steps:
            response["steps"] = {name: step.to_dict() for name, step in self.steps.items()}
        return response

    def raise_for_status(self) -> Result:
        """Return this result if the prediction succeeded.

        Otherwise raises PredictionFailedError, PredictionCanceledError (also for ``aborted``), or
        PredictionUnfinishedError for a status that is not terminal. A row of a batch with a ``problem`` raises
        RowError.
        """
        if self.problem:
            raise RowError(f"line {self.line}: {self.problem}", self)
        match self.status:
            case "succeeded":
                return self
            case "failed":
                raise PredictionFailedError(f"{self.kind} {self.prediction_id} failed: {self.error}", self)
            case "canceled" | "aborted":
                raise PredictionCanceledError(f"{self.kind} {self.prediction_id} was {self.status}", self)
        raise PredictionUnfinishedError(f"{self.kind} {self.prediction_id} is still {self.status}", self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:  # noqa: ARG002 - IPython's signature
        from replicate_job.notebook import mimebundle  # noqa: PLC0415 - only a notebook pays for it

        return mimebundle(
            f"{self.kind} {self.prediction_id} {self.status}",
            self.output,
            self.files,
            error=self.error,
            has_succeeded=self.status == "succeeded",
            api=self.urls.get("get", ""),
        )


class PredictionError(ReplicateJobError):
    """``result`` is the ``Result`` that raised it."""

    result: Result

    def __init__(self, message: str, result: Result) -> None:
        self.result = result
        super().__init__(message)


class PredictionFailedError(PredictionError):
    pass


class PredictionCanceledError(PredictionError):
    pass


class PredictionUnfinishedError(PredictionError):
    pass


class JobTimeoutError(PredictionUnfinishedError, TimeoutError):
    """The ``timeout`` of a call is over. Its job is not changed: the same key continues it, without a second payment.

    ``result`` is the ``Result`` as last observed, and ``result.key`` is the job's key. If no prediction is known, the
    result's ``prediction_id`` is empty, its status is ``starting``, and the message says whether a prediction may
    exist.
    """


class RowError(PredictionError):
    pass


Outcome = Result | ReplicateJobError
"""The outcome of a job: its result, or an error."""
