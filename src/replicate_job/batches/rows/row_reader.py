"""Converts a row to a model's input: finds the input for each column, and the value for the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.batches.rows.columns import ColumnMap, ColumnOptions
from replicate_job.batches.rows.row import Header
from replicate_job.batches.rows.values import MISSING, ValueReader
from replicate_job.errors import ColumnsError, JobError
from replicate_job.inputs.at_path import AtPaths, Reading
from replicate_job.inputs.pairs import input_schemas
from replicate_job.wire.openapi import definition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from replicate_job.batches.rows.filling import Filler
    from replicate_job.batches.rows.row import Row
    from replicate_job.job import Job

    _InputReader = tuple[
        str, Callable[[Any], Any], type | None
    ]  # the input's name, and the two results of ``ValueReader.reader`` for it


class RowReader:
    """Reads rows as inputs of one model. ``document`` is the model's OpenAPI document, None if not known.

    The columns in ``header``, or else those of the first row, are checked one time. ``typed`` is False if values are
    text; see ``ValueReader``. ``AtPaths`` reads ``@path`` and ``@@``, with ``within`` and ``observe``. ``within`` are
    the folders from which an ``@path`` may read text, since a stranger may have made the file of rows. If ``within`` is
    None, ``@path`` and ``@@`` are plain text. Raises ColumnsError for columns that are not inputs.
    """

    def __init__(  # noqa: PLR0913 - the model, the columns, and how to read an @
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
        self._at_paths = None if within is None else AtPaths(document, within=within, observe=observe)
        self._inputs = input_schemas(document)
        schema = definition(document, "Input")
        is_known = schema is not None and isinstance(schema.get("properties"), dict)
        self._columns = ColumnMap(
            options,
            job.model,
            self._inputs if is_known else None,
            (schema or {}).get("required") or (),
            allow_unknown=job.allow_unknown,
        )
        self._values = ValueReader(document, typed=typed)
        self._filler = self._make_filler(document, options, is_known=is_known)
        self._readers: dict[str, _InputReader | None] = {}
        self._is_begun = False
        if header.names is not None:
            self._read_header(header)
        # A row without an input may run if the job has an input, or if the model has no inputs.
        self._may_be_empty = not is_known or not self._inputs or not self._inputs.keys().isdisjoint(job.input_data)
        self._has_unknown = False

    def _make_filler(
        self, document: Mapping[str, Any] | None, options: ColumnOptions, *, is_known: bool
    ) -> Filler | None:
        if not (options.templates or options.grid):
            return None
        from replicate_job.batches.rows.filling import Filler  # noqa: PLC0415 - few batches have templates or a grid

        return Filler(document, self._job, options, self._inputs if is_known else None)

    def _read_header(self, header: Header) -> None:
        if self._filler:
            self._filler.check(header.names or ())
        self._columns.read_header(header)

    def __call__(self, row: Row) -> dict[str, Any]:
        """The row's input. Raises one JobError with every problem, or with the row's own ``problem``."""
        if row.problem:
            raise JobError(row.problem)
        if not self._is_begun:
            self._begin(row)
        readers = self._readers
        values: dict[str, Any] = {}
        has_at = False
        for column, cell in row.values.items():
            reader = readers[column] if column in readers else self._find(column)
            if reader is None:
                continue
            name, read, plain = reader
            value = cell if type(cell) is plain else read(cell)
            if value is not MISSING:
                values[name] = value
                # Most rows have no @. This quick test spares them a walk through the schema.
                has_at = has_at or type(value) is list or (type(value) is str and value[:1] == "@")
        if self._filler:
            values |= self._filler.fill(row)
            has_at = True
        if has_at and self._at_paths:
            values = self._at_paths.read(values)
        if not values or self._has_unknown:
            self._check_inputs(row, values)
        return values

    def _begin(self, row: Row) -> None:
        """Read the columns' names from the first row if the header does not have them."""
        self._is_begun = True
        if self._header.names is not None:
            self._check_no_header(row)
            return
        names = [name for name, value in row.values.items() if value is not None]
        try:
            self._read_header(msgspec.structs.replace(self._header, names=names))
        except ColumnsError as error:
            raise ColumnsError(str(error).replace(": ", f": line {row.line}: ", 1)) from None

    def _check_no_header(self, row: Row) -> None:
        """Raise ColumnsError if the first row of a file read without a header is a header."""
        for column, cell in row.values.items() if not self._header.is_named else ():
            name = self._columns.input_of(column)
            if name and isinstance(cell, str) and cell.strip().casefold() == name.casefold():
                raise ColumnsError(
                    f"{self._header.source}: line {row.line} is a header, as it names the input {name}: read it as one"
                    " with --format csv, or without --no-header"
                )

    def _find(self, column: str) -> _InputReader | None:
        name = self._columns.input_of(column)
        self._has_unknown |= bool(self._inputs) and name is not None and name not in self._inputs
        self._readers[column] = None if name is None else (name, *self._values.reader(name))
        return self._readers[column]

    def _check_inputs(self, row: Row, values: Mapping[str, Any]) -> None:
        """Raise JobError for an input that is given twice, and for a row without any input.

        The model would run a row without any input with its defaults alone, and that prediction would be paid for.
        """
        for column, name in self._columns.duplicates.items():
            if column in row.values and name in values:
                raise JobError(f"it gives the input {name} twice, once as {column!r}")
        # Without ``allow_unknown``, the check of the whole input reports unknown inputs.
        is_empty = not values and not self._may_be_empty
        if is_empty or (values and self._job.allow_unknown and self._inputs.keys().isdisjoint(values)):
            raise JobError(f"it gives no input of {self._job.model}, which takes {', '.join(self._inputs)}")
