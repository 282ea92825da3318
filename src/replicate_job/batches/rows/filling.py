"""Inputs that have no column of their own: those that templates make from columns, and the values of a grid."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import isnan
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import ColumnsError, JobError
from replicate_job.inputs.pairs import input_schemas, typed_text
from replicate_job.template import Template, read_template
from replicate_job.wire.openapi import Schema, alternatives, secret_inputs

if TYPE_CHECKING:
    from replicate_job.batches.rows.columns import ColumnOptions
    from replicate_job.batches.rows.row import Row
    from replicate_job.job import Job


def parse_templates(words: Iterable[str]) -> dict[str, Template]:
    """Read the values of ``--set``: an input and its template. Raises JobError with the place of the mistake."""
    templates: dict[str, Template] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise JobError(f"--set {word!r} is not INPUT=TEMPLATE")
        if name in templates:
            raise JobError(f"--set {name} is given twice")
        templates[name] = _read(f"--set {name}: ", text)
        if not templates[name].names:
            raise JobError(f"--set {name}: {text!r} names no {{column}}; give what is the same for all as {word!r}")
    return templates


def read_templates(templates: Mapping[str, str]) -> dict[str, Template]:
    """Parse the templates of a Python program. Raises JobError."""
    return {name: _read(f"set[{name!r}]: ", text) for name, text in templates.items()}


def _read(where: str, text: str) -> Template:
    try:
        return read_template(text)
    except JobError as error:
        raise JobError(f"{where}{error}") from None


class Filler:
    """Makes the inputs of a row that come from templates and from the row's combination of the grid.

    ``inputs`` are the model's inputs, None if they are not known. Filled templates, and values of a grid from the
    command line, are converted to the input's type in the schema, like a ``KEY=VALUE`` word. A name of the grid may be
    used by templates only, without being an input. Raises ColumnsError for a name that is neither an input nor used by
    a template.
    """

    def __init__(
        self, document: Mapping[str, Any] | None, job: Job, options: ColumnOptions, inputs: Collection[str] | None
    ) -> None:
        self._document, self._schemas = document or {}, input_schemas(document)
        self._templates, self._grid = options.templates, options.grid
        self._needed = {name: template.names - options.grid for name, template in options.templates.items()}
        self._feeding = options.feeding
        self._alternatives: dict[str, list[Schema]] = {}
        self._is_input = {name: name not in options.feeding or name in (inputs or ()) for name in options.grid}
        given = [name for name in (*options.templates, *sorted(options.grid)) if self._is_input.get(name, True)]
        _check_names(given, job, inputs, secret_inputs(document))

    def check(self, columns: Sequence[str]) -> None:
        """Raise ColumnsError for a template with a name that is neither a column nor in the grid."""
        for name, template in self._templates.items():
            try:
                template.check([*columns, *sorted(self._grid)])
            except JobError as error:
                raise ColumnsError(f"--set {name}: {error}") from None

    def fill(self, row: Row) -> dict[str, Any]:
        """The inputs for this row. Raises JobError if a template needs a column that is empty in the row."""
        point, values = row.point, dict[str, Any]()
        if self._grid and point is None:  # otherwise the row would run with defaults, and be paid for
            raise ColumnsError("this way to run a batch knows no grid: leave --grid out")
        for name, template in self._templates.items():
            texts = {column: _text(row.values.get(column), name, column) for column in self._needed[name]}
            values[name] = self._typed(name, template.fill(texts | (point.texts if point else {})))
        if point:
            for name, value in point.values.items():
                if self._is_input[name]:
                    values[name] = self._typed(name, point.texts[name]) if point.is_text else value
        return values

    def _typed(self, name: str, text: str) -> Any:
        try:
            if name not in self._alternatives:
                self._alternatives[name] = list(alternatives(self._document, self._schemas.get(name)))
            return typed_text(text, self._alternatives[name], self._document)
        except RecursionError:  # a schema that contains itself: its types cannot be listed
            return typed_text(text, [{}], {})


def _check_names(given: Sequence[str], job: Job, inputs: Collection[str] | None, secrets: Collection[str]) -> None:
    for name in given:
        if name in secrets:
            raise ColumnsError(f"{name} is a secret: give it in a column or as {name}=@FILE, not in a template or grid")
        if inputs is None or name in inputs or job.allow_unknown:
            continue
        close = get_close_matches(name, inputs, n=1)
        question = f"; did you mean {close[0]}?" if close else ";"
        raise ColumnsError(f"{job.model} has no input {name}{question} It takes {', '.join(inputs) or 'none'}")


def _text(value: Any, name: str, column: str) -> str:
    """The text of a column's value in a template."""
    if isinstance(value, str):
        return value.strip()
    if value is None or (isinstance(value, float) and isnan(value)):
        raise JobError(f"--set {name} needs the column {column!r}, which is empty in this row")
    if not isinstance(value, bool | int | float):
        raise JobError(f"--set {name} needs the column {column!r}, which holds no text or number here")
    return msgspec.json.encode(value).decode()
