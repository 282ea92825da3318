"""A row of a batch as a job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.batches.rows.row import Row
from replicate_job.errors import (
    APIError,
    AuthenticationError,
    ColumnsError,
    DamagedError,
    InputError,
    JobError,
    MissingVariableError,
    ModelNotFoundError,
    OutputError,
    PaymentRequiredError,
    RateLimitError,
    ReplicateJobError,
    TooLargeError,
    UncertainError,
    UnreadableError,
)
from replicate_job.flow.resolved import Resolved
from replicate_job.inputs.content import Content
from replicate_job.inputs.flaws import flaws
from replicate_job.inputs.secrets import hide
from replicate_job.job import Job, Result
from replicate_job.journal.entry import fingerprint

if TYPE_CHECKING:
    from replicate_job.batches.rows.point import Point


def _identify(value: Any) -> str:
    return value.sha256 if isinstance(value, Content) else str(value)  # not its name, which may differ in each run


_encoder = msgspec.json.Encoder(enc_hook=_identify, order="deterministic")

ReadRow = Callable[[dict[str, Any] | None], Callable[[Row], dict[str, Any]]]
"""Takes the model's schema, or None, and returns the function that reads a row as an input of the model.

The returned function raises JobError for a row that it cannot read."""


class RowJob(msgspec.Struct, frozen=True):
    """A row as a job. ``name`` is unique within the batch.

    If the row cannot be read, ``name`` is empty and ``problem`` says why. ``secrets`` are the names of the inputs that
    no result may show. ``model`` is empty for the batch's own model, ``grid`` has the values of the row's combination,
    and ``number`` identifies the row with its combination within this run. ``repeats``: an earlier row has the same
    input, and the two rows share a prediction.
    """

    line: int
    name: str
    job: Job
    problem: str = ""
    secrets: tuple[str, ...] = ()
    repeats: bool = False
    model: str = ""
    grid: dict[str, Any] = {}
    number: int = 0

    def failure(self, problem: str, key: str = "") -> Result:
        """The result of a row that has no prediction."""
        return Result(
            prediction_id="",
            status="error",
            model=self.job.model,
            input=hide(self.job.input_data, self.secrets),
            error=problem,
            key=key,
            line=self.line,
            problem=problem,
            grid=self.grid,
        )


class RowJobs:
    """Makes each row's job: the batch's job, with the row's values in place of the job's inputs of the same names.

    A row's name is its line and a hash of its values; with an ``id_column``, it is that column's value. With a grid,
    the name of the row's combination is appended to it. ``combinations`` is the number of combinations of each row. A
    problem of one row is stored in its ``RowJob``; a problem that all rows share is raised as ColumnsError.
    """

    def __init__(
        self, job: Job, resolved: Resolved, read: ReadRow, id_column: str | None, combinations: int = 1
    ) -> None:
        self._job, self._read, self._combinations = job, read(resolved.schema), combinations
        self._checker = resolved.checker
        self._id_column, self._secrets = id_column, resolved.secrets

    def make(self, row: Row) -> RowJob:
        if row.problem:
            return self._wrong(row, row.problem)
        try:
            values = self._read(row)
            _check(values, self._secrets)
            name = "" if self._id_column is None else self._id(row)
        except ColumnsError:
            raise
        except JobError as error:
            return self._wrong(row, str(error))
        # The hash is of the values as they are in the file, since the input made from them changes with the schema.
        name = name or f"{row.line}-{_hash(row.values)}"
        job = msgspec.structs.replace(self._job, input_data={**self._job.input_data, **values})
        item = RowJob(row.line, name, job, secrets=self._secrets, number=row.line)
        return self._combined(item, row.point, values) if row.point else item

    def _combined(self, item: RowJob, point: Point, values: dict[str, Any]) -> RowJob:
        """The row's job with the name, the model and the grid values of its combination, ``point``."""
        number = item.line * self._combinations + point.number
        name = f"{item.name}+{point.name}" if item.name and point.name else item.name
        read = {key: values.get(key, text) for key, text in point.texts.items()}
        grid = {key: value if _is_plain(value) else point.texts[key] for key, value in read.items()}
        return msgspec.structs.replace(item, name=name, model=point.model, grid=grid, number=number)

    def check(self, item: RowJob) -> str:
        """The problems of the row's input, in one line; empty if the input fits the model."""
        if item.problem:
            return item.problem
        problems = self._checker.check(item.job.input_data, allow_unknown=item.job.allow_unknown)
        return str(InputError(item.job.model, problems)) if problems else ""

    def _wrong(self, row: Row, problem: str) -> RowJob:
        item = RowJob(row.line, "", self._job, problem, self._secrets, number=row.line)
        return self._combined(item, row.point, {}) if row.point else item

    def _id(self, row: Row) -> str:
        given = row.values.get(self._id_column or "")
        if given is not None and not isinstance(given, dict | list):
            _check(
                {self._id_column or "": given}, self._secrets
            )  # checked first, because Python cannot convert a very long integer to text
        if given is None or isinstance(given, dict | list) or not str(given).strip():
            raise JobError(f"the column {self._id_column!r} names the row, and holds no text or number here")
        return str(given)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


class Names:
    """The names of one file's rows so far, to find duplicates."""

    def __init__(self) -> None:
        self._inputs: dict[int, int] = {}  # by the name's hash, the input's hash: a batch may have a million rows

    def has_same(self, item: RowJob) -> bool | None:
        """Whether an earlier row with the same name has the same input; None if no earlier row has the name."""
        name, own = hash(item.name), hash(fingerprint(item.job))
        if name in self._inputs:
            return self._inputs[name] == own
        self._inputs[name] = own
        return None


def another_input(name: str) -> str:
    return f"a row named {name!r} has run with another input: give this one another name"


def _check(values: dict[str, Any], secrets: tuple[str, ...]) -> None:
    if problems := flaws(values, secrets):
        raise JobError("; ".join(problems))


def _hash(values: dict[str, Any]) -> str:
    try:
        encoded = _encoder.encode(values)
    except (RecursionError, ValueError, OverflowError):  # a column that is not an input may hold any value
        encoded = _encoder.encode({name: value for name, value in values.items() if not flaws({name: value})})
    return hashlib.sha256(encoded).hexdigest()[:8]


def is_of_row(error: ReplicateJobError) -> bool:
    """Whether the error concerns this row alone. Any other error ends the batch, since all rows would fail one by one.

    Errors of all rows: no credit, a wrong token, no such model, an API or network that is down, a journal or disk that
    cannot be written.
    """
    match error:
        case AuthenticationError() | PaymentRequiredError() | RateLimitError():
            return False
        case ModelNotFoundError() | MissingVariableError():
            return False
        case APIError():
            return error.status < 500  # noqa: PLR2004 - HTTP's server errors
        case OutputError():
            return not isinstance(error.__cause__, OSError)
        case JobError() | UncertainError() | TooLargeError() | DamagedError() | UnreadableError():
            return True
    return False
