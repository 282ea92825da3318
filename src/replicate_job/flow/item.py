"""A row of a batch as a job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from replicate_job.errors import InputError, JobError
from replicate_job.flow.resolve import Resolved
from replicate_job.inputs.flaws import flaws
from replicate_job.inputs.schema import Checker
from replicate_job.job import Job, Result
from replicate_job.rows.row import Row
from replicate_job.wire.openapi import definition

_encoder = msgspec.json.Encoder(enc_hook=str, order="deterministic")

ReadRow = Callable[[dict[str, Any] | None], Callable[[Row], dict[str, Any]]]
"""From the model's schema to what reads a row as an input, which raises JobError."""


class Item(msgspec.Struct, frozen=True):
    """``name`` is the row's within its batch; empty where the row cannot be read, and ``problem`` says why."""

    line: int
    name: str
    job: Job
    problem: str = ""

    def failure(self, problem: str, key: str = "") -> Result:
        """The result of a row that has no prediction."""
        return Result(
            prediction_id="",
            status="error",
            model=self.job.model,
            input=self.job.input_data,
            error=problem,
            key=key,
            line=self.line,
            problem=problem,
        )


class Items:
    """Merges rows over one job's input.

    A row's name is its line and a hash of its input; with an ``id_column``, what that column holds, which is no input
    unless the model has one of that name.
    """

    def __init__(self, job: Job, resolved: Resolved, read: ReadRow, id_column: str | None) -> None:
        self._job, self._read = job, read(resolved.schema)
        self._checker = Checker(resolved.schema, allow_unknown=job.allow_unknown)
        self._id_column = id_column
        inputs = (definition(resolved.schema, "Input") or {}).get("properties") or {}
        self._drops_id = id_column is not None and id_column not in inputs

    def make(self, row: Row) -> Item:
        if row.problem:
            return Item(row.line, "", self._job, row.problem)
        try:
            name, row = self._take_id(row)
            values = self._read(row)
            _check(values)
        except JobError as error:
            return Item(row.line, "", self._job, str(error))
        # Of the row as it stands: what it is read as changes with the model's schema.
        name = name or f"{row.line}-{_hash(row.values)}"
        job = msgspec.structs.replace(self._job, input_data={**self._job.input_data, **values})
        return Item(row.line, name, job)

    def check(self, item: Item) -> str:
        """What is wrong with the row's input, in one line; empty when it fits the model."""
        if item.problem:
            return item.problem
        problems = self._checker.check(item.job.input_data)
        return str(InputError(item.job.model, problems)) if problems else ""

    def _take_id(self, row: Row) -> tuple[str, Row]:
        if self._id_column is None:
            return "", row
        given = row.values.get(self._id_column)
        if given is None or given == "" or isinstance(given, dict | list):
            raise JobError(f"the column {self._id_column!r} names the row, and holds no text or number here")
        _check({self._id_column: given})
        values = {name: value for name, value in row.values.items() if name != self._id_column or not self._drops_id}
        return str(given), msgspec.structs.replace(row, values=values)


def _check(values: dict[str, Any]) -> None:
    if problems := flaws(values):
        raise JobError("; ".join(problems))


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(_encoder.encode(values)).hexdigest()[:8]
