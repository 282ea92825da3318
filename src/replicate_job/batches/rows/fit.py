"""Fitting a row to a model: which input each column is, and the value that the input takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.batches.rows.columns import ColumnOptions, Columns
from replicate_job.batches.rows.row import Header
from replicate_job.batches.rows.values import NOTHING, ValueReader
from replicate_job.errors import ColumnsError, JobError
from replicate_job.inputs.at_path import AtPaths, Reading
from replicate_job.inputs.pairs import input_schemas
from replicate_job.wire.openapi import definition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from replicate_job.batches.rows.row import Row
    from replicate_job.job import Job

    _Place = tuple[str, Callable[[Any], Any], type | None]  # an input, and how ``ValueReader.reader`` reads its values


class RowReader:
    """Reads rows as inputs of one model; ``document`` is its OpenAPI document, None where it is not known.

    The columns are looked at once: where ``header`` does not name them, the first row does. ``typed`` is False where
    values are text; see ``ValueReader``. ``@path`` and ``@@`` are read as ``AtPaths`` does, of which ``within`` and
    ``observe`` are; without ``within`` they have no meaning. A file of rows may be somebody else's: what its texts may
    be taken from is for the caller to say. Raises ColumnsError for columns that are no inputs.
    """

    def __init__(  # noqa: PLR0913 - what is known of the model, of the columns, and of an @
        self,
        document: Mapping[str, Any] | None,
        job: Job,
        options: ColumnOptions,
        header: Header,
        *,
        typed: bool,
        within: Sequence[Path] | None = None,
        observe: Callable[[Reading], None] = lambda _: None,
    ) -> None:
        self._header, self._job = header, job
        self._at = None if within is None else AtPaths(document, within=within, observe=observe)
        self._inputs = input_schemas(document)
        schema = definition(document, "Input")
        knows = schema is not None and isinstance(schema.get("properties"), dict)
        self._columns = Columns(
            options,
            job.model,
            self._inputs if knows else None,
            (schema or {}).get("required") or (),
            allow_unknown=job.allow_unknown,
        )
        self._values = ValueReader(document, typed=typed)
        self._plan: dict[str, _Place | None] = {}
        self._is_begun = False
        if header.names is not None:
            self._columns.meet(header)
        # What the job has for all rows alike is somebody's choice, and not the model's own.
        self._has_own = not knows or not self._inputs or not self._inputs.keys().isdisjoint(job.input_data)
        self._has_strangers = False

    def __call__(self, row: Row) -> dict[str, Any]:
        """The input. Raises JobError with every problem in its one line, also for a row that has a ``problem``."""
        if row.problem:
            raise JobError(row.problem)
        if not self._is_begun:
            self._begin(row)
        plan = self._plan
        values: dict[str, Any] = {}
        has_at = False
        for name, given in row.values.items():
            place = plan[name] if name in plan else self._find(name)
            if place is None:
                continue
            found, read, plain = place
            value = given if type(given) is plain else read(given)
            if value is not NOTHING:
                values[found] = value
                has_at = has_at or type(value) is list or (type(value) is str and value[:1] == "@")
        if has_at and self._at:
            values = self._at.read(values)
        if not values or self._has_strangers:
            self._check_known(row, values)
        return values

    def _begin(self, row: Row) -> None:
        """Learn the columns from the first row, where they are not known."""
        self._is_begun = True
        if self._header.names is not None:
            self._check_no_header(row)
            return
        names = [name for name, value in row.values.items() if value is not None]
        try:
            self._columns.meet(msgspec.structs.replace(self._header, names=names))
        except ColumnsError as error:
            raise ColumnsError(str(error).replace(": ", f": line {row.line}: ", 1)) from None

    def _check_no_header(self, row: Row) -> None:
        """Raise ColumnsError where the first row of a file without a header is one."""
        for name, given in row.values.items() if not self._header.is_named else ():
            found = self._columns.input_of(name)
            if found and isinstance(given, str) and given.strip().casefold() == found.casefold():
                raise ColumnsError(
                    f"{self._header.source}: line {row.line} is a header, as it names the input {found}: read it as one"
                    " with --format csv, or without --no-header"
                )

    def _find(self, name: str) -> _Place | None:
        found = self._columns.input_of(name)
        self._has_strangers |= bool(self._inputs) and found is not None and found not in self._inputs
        self._plan[name] = None if found is None else (found, *self._values.reader(found))
        return self._plan[name]

    def _check_known(self, row: Row, values: Mapping[str, Any]) -> None:
        """Raise JobError where the model would run on its defaults alone: they are paid for like any other input."""
        for name, found in self._columns.doubles.items():
            if name in row.values and found in values:
                raise JobError(f"it gives the input {found} twice, once as {name!r}")
        # What is unknown is told by the check, unless it is let pass.
        is_empty = not values and not self._has_own
        if is_empty or (values and self._job.allow_unknown and self._inputs.keys().isdisjoint(values)):
            raise JobError(f"it gives no input of {self._job.model}, which takes {', '.join(self._inputs)}")
