"""Finds the model's input for each column of a file of rows."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from replicate_job.errors import ColumnsError, JobError

if TYPE_CHECKING:
    from replicate_job.batches.rows.row import Header
    from replicate_job.template import Template

OTHERS = "*"
"""In ``ColumnOptions.ignore``, this stands for every column that is not an input of the model."""
_MAIN = ("prompt", "text")  # the usual names of the input for a file of plain text
_SHOWN = 30  # the most names in a message


class ColumnOptions(msgspec.Struct, frozen=True):
    """The user's options for columns.

    ``rename`` maps a column to its input. ``ignore`` names the columns to leave out; ``*`` leaves out every column that
    is not an input. ``id`` is the column that identifies a row. ``constants`` are the inputs with one value for all
    rows. ``templates`` maps an input to the template that makes it from columns. ``grid`` are the names in the grid.
    """

    rename: Mapping[str, str] = {}
    ignore: frozenset[str] = frozenset()
    id: str | None = None
    constants: frozenset[str] = frozenset()
    templates: Mapping[str, Template] = {}
    grid: frozenset[str] = frozenset()

    @property
    def feeding(self) -> frozenset[str]:
        """The names of the columns that templates use."""
        return frozenset(name for template in self.templates.values() for name in template.names)

    def is_given(self, name: str) -> bool:
        """Whether a constant, a template or the grid sets this input, so that no column may set it."""
        return name in self.constants or name in self.templates or name in self.grid

    @property
    def identity(self) -> str:
        """A text that differs between options that make different inputs from the same row; empty for the defaults."""
        parts = (sorted(self.rename.items()), sorted(self.ignore), sorted(self.constants))
        made = (sorted((name, str(template)) for name, template in self.templates.items()), sorted(self.grid))
        return repr(parts + made if any(made) else parts) if any(parts + made) else ""


def parse_columns(renames: Iterable[str], ignored: Iterable[str]) -> ColumnOptions:
    """Read the values of ``--rename`` and ``--ignore-columns``. Raises JobError.

    A rename is ``old=new`` or ``a=b,c=d``; ``c=`` leaves the column c out. Ignored columns are ``a`` or ``a,b``.
    """
    rename: dict[str, str] = {}
    ignore = {name.strip() for word in ignored for name in (word, *word.split(",")) if name.strip()}
    for word in renames:
        parts = word.split(",")
        # A comma may be part of a name: it separates pairs only if each part is a pair.
        for part in parts if all("=" in part for part in parts) else [word]:
            old, equals, new = part.rpartition("=")
            if not equals or not old.strip():
                raise JobError(f"{part!r} is not COLUMN=INPUT; it says which input of the model a column is")
            if new.strip():
                rename[old.strip()] = new.strip()
            else:
                ignore.add(old.strip())
    return ColumnOptions(rename, frozenset(ignore))


def check_given(options: ColumnOptions) -> None:
    """Raise JobError if two options set the same input."""
    for name in sorted(options.grid):
        if name in options.templates or name in options.constants:
            raise JobError(f"{name} has the values of a grid, and another value: leave one of them out")
    for name in options.templates:
        if name in options.constants:
            raise JobError(f"{name} has a template, and one value for all rows: leave one of them out")


def check_unique(file: str, columns: Sequence[str]) -> None:
    """Raise JobError if two columns have the same name."""
    if len(set(columns)) < len(columns):
        repeated = next(name for name in columns if columns.count(name) > 1)
        raise JobError(f"{file}: two columns are named {repeated!r}; give one another name")


class ColumnMap:
    """Finds the input of each column, for one model. ``inputs`` are the model's inputs, None if they are not known."""

    def __init__(
        self,
        options: ColumnOptions,
        model: str,
        inputs: Collection[str] | None,
        required: Collection[str] = (),
        *,
        allow_unknown: bool,
    ) -> None:
        self._options, self._model, self._required = options, model, required
        self._feeding = options.feeding
        self._inputs, self._is_known, self._allow_unknown = inputs or (), inputs is not None, allow_unknown
        self._input_of: dict[str, str | None] = {}
        self._column_of: dict[str, str] = {}
        self._main_input: str | None = None
        self.duplicates: dict[str, str] = {}
        """Columns whose input another column sets already: a mapping of the column to that input."""

    def read_header(self, header: Header) -> None:
        """Find the inputs of all columns. Raises one ColumnsError that names every column without an input."""
        names = list(header.names or ())
        self._check_options(header, names)
        self._main_input = self._find_main_input(header) if not header.is_named and len(names) == 1 else None
        # Renamed columns get their inputs first, then columns with an input's exact name, then similar ones.
        for name in sorted(names, key=lambda name: (name not in self._options.rename, name not in self._inputs)):
            self._input_of[name] = self._assign(name)
        # Only now is it known which inputs have no column. A column that ``*`` ignores may be such an input, misspelt.
        self._input_of |= {name: self._drop_ignored(name) for name in names}
        if refused := [name for name in names if self._is_refused(name)]:
            raise ColumnsError(self._refusal(header, refused))

    def input_of(self, name: str) -> str | None:
        """The column's input; the column's own name if the model has no such input, None if the column is left out."""
        if name not in self._input_of:
            self._input_of[name] = self._assign(name)
            self._input_of[name] = self._drop_ignored(name)
        return self._input_of[name]

    def _assign(self, name: str) -> str | None:
        input_name = self._find(name)
        if input_name is None:
            return None
        if self._options.is_given(input_name):  # otherwise one of the two values would be ignored silently
            raise ColumnsError(
                f"{_quote(name)} is a column, and {input_name}=... is given for all rows: leave one of them out"
                f" (--ignore-columns {shlex.quote(name)})"
            )
        if self._column_of.setdefault(input_name, name) == name:
            return input_name
        # The column keeps its own name, as an unknown input, so that no value is overwritten silently.
        self.duplicates[name] = input_name
        return name

    def _find(self, name: str) -> str | None:
        options = self._options
        if name in options.rename:
            return options.rename[name]
        if name in options.ignore or (name == options.id and name not in self._inputs):
            return None
        if name in self._feeding and (name not in self._inputs or name in options.templates):
            return None
        if name in self._inputs:
            return name
        if self._main_input:
            return self._main_input
        # A column may differ from its input in case, unless several inputs differ only in case.
        folded, renamed = name.strip().casefold(), options.rename.values()
        alike = [known for known in self._inputs if known.casefold() == folded and known not in renamed]
        return alike[0] if len(alike) == 1 else name

    def _drop_ignored(self, name: str) -> str | None:
        """With ``*``, leave out a column that is not an input, unless its name looks like a misspelt input."""
        input_name = self._input_of[name]
        if input_name is None or input_name in self._inputs or OTHERS not in self._options.ignore:
            return input_name
        return input_name if self._similar(input_name) else None

    def _is_refused(self, name: str) -> bool:
        input_name = self._input_of[name]
        if input_name is None or not self._is_known or (input_name in self._inputs and name not in self.duplicates):
            return False
        # A likely mistake is refused even if unknown inputs are allowed, since its prediction would be paid for.
        return not self._allow_unknown or name in self.duplicates or bool(self._similar(input_name))

    def _find_main_input(self, header: Header) -> str | None:
        """The input for the only column of a file, if that column has no name; None if the column is renamed.

        Raises ColumnsError if several inputs are possible.
        """
        (name,) = header.names or ("",)
        if name in self._options.rename or not self._is_known:
            return None
        required = [known for known in self._required if not self._options.is_given(known)]
        usual = [known for known in _MAIN if known in self._inputs]
        for names in (required, usual, list(self._inputs)):
            if len(names) == 1:
                return names[0]
        raise ColumnsError(
            f"{header.source} does not say which input of {self._model} its lines are; {self._listed()}."
            f" Name it: --rename {name}=INPUT"
        )

    def _check_options(self, header: Header, names: Sequence[str]) -> None:
        options = self._options
        expected = [("--id", options.id)] if options.id and header.names else []
        if header.is_whole:
            expected += [("--rename", name) for name in options.rename]
        for option, name in expected:
            if name not in names:
                raise ColumnsError(f"{option}: {header.source} has no column {name!r}; it has {_join(names)}")
        for old, new in options.rename.items():
            if self._is_known and new not in self._inputs and not self._allow_unknown:
                raise ColumnsError(f"--rename {old}={new}: {self._model} has no input {new}; {self._listed()}")
        renamed = list(options.rename.values())
        if repeated := next((new for new in renamed if renamed.count(new) > 1), None):
            raise ColumnsError(f"--rename: two columns are to be the input {repeated}; leave one out")

    def _similar(self, name: str) -> str:
        """An input with a similar name and without a column; empty if there is none."""
        from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

        free = [known for known in self._inputs if known not in self._column_of and not self._options.is_given(known)]
        return next(iter(get_close_matches(name.strip().lower(), free, n=1)), "")

    def _refusal(self, header: Header, refused: Sequence[str]) -> str:
        are = "is not an input" if len(refused) == 1 else "are not inputs"
        columns = _join([_quote(name) for name in refused])
        message = f"{header.source}: {columns} {are} of {self._model}; {self._listed()}."
        similar = [f"{name}={known}" for name in refused if (known := self._similar(name))]
        if self.duplicates:
            message = "".join(
                f"{header.source}: both {_quote(self._column_of[known])} and {_quote(name)} would be the input {known}."
                for name, known in self.duplicates.items()
            )
        elif similar:
            message += f" Did you mean --rename {shlex.quote(','.join(similar))}?"
        ignored = ",".join(refused) if len(refused) <= _SHOWN else OTHERS
        message += f" To leave out: --ignore-columns {shlex.quote(ignored)}."
        if header.is_named and any(map(str.isdecimal, refused)):
            message += " (A number stands for a column without a name; pandas writes none with index=False.)"
        if header.separator:
            message += f" (Columns are separated by {header.separator}; --delimiter names another separator.)"
        return message

    def _listed(self) -> str:
        return f"it takes {_join(list(self._inputs))}"


def _quote(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"


def _join(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "") if names else "none"
