"""Which column of a file of rows is which input of the model."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import msgspec

from replicate_job.errors import ColumnsError, JobError

if TYPE_CHECKING:
    from replicate_job.batches.rows.row import Header

OTHERS = "*"
"""Among the columns that are left out: all that are no input of the model."""
_MAIN = ("prompt", "text")
_SHOWN = 30  # names in a message


class ColumnOptions(msgspec.Struct, frozen=True):
    """What a person says of the columns.

    ``rename`` maps a column to the input that it is; ``ignore`` are left out, where ``*`` is every column that is no
    input. ``id`` is the column that names a row. ``constants`` are inputs that have one
    value for all rows: a column of that name is left out.
    """

    rename: Mapping[str, str] = {}
    ignore: frozenset[str] = frozenset()
    id: str | None = None
    constants: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        """What of it makes another input of the same row; empty where nothing does."""
        parts = (sorted(self.rename.items()), sorted(self.ignore), sorted(self.constants))
        return repr(parts) if any(parts) else ""


def parse_columns(renames: Iterable[str], ignored: Iterable[str]) -> ColumnOptions:
    """Read words like ``old=new`` or ``a=b,c=d``, where ``c=`` leaves c out, and ``a`` or ``a,b``. Raises JobError."""
    rename: dict[str, str] = {}
    ignore = {name.strip() for word in ignored for name in (word, *word.split(",")) if name.strip()}
    for word in renames:
        parts = word.split(",")
        for part in parts if all("=" in part for part in parts) else [word]:
            old, equals, new = part.rpartition("=")
            if not equals or not old.strip():
                raise JobError(f"{part!r} is not COLUMN=INPUT; it says which input of the model a column is")
            if new.strip():
                rename[old.strip()] = new.strip()
            else:
                ignore.add(old.strip())
    return ColumnOptions(rename, frozenset(ignore))


def check_doubles(file: str, columns: Sequence[str]) -> None:
    """Raise JobError where two columns have one name."""
    if len(set(columns)) < len(columns):
        doubled = next(name for name in columns if columns.count(name) > 1)
        raise JobError(f"{file}: two columns are named {doubled!r}; give one another name")


class Columns:
    """Finds the input of each column, for one model; ``inputs`` are the model's, None where they are not known."""

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
        self._inputs, self._knows, self._allow_unknown = inputs or (), inputs is not None, allow_unknown
        self._found: dict[str, str | None] = {}
        self._taken: dict[str, str] = {}
        self._only: str | None = None
        self.doubles: dict[str, str] = {}
        """Columns that would be an input which another column is already, and that input."""

    def meet(self, header: Header) -> None:
        """Find the inputs of all columns. Raises ColumnsError, with all that is wrong, unless each has its place."""
        names = list(header.names or ())
        self._check_options(header, names)
        self._only = self._main(header) if not header.is_named and len(names) == 1 else None
        for name in sorted(names, key=lambda name: (name not in self._options.rename, name not in self._inputs)):
            self._found[name] = self._place(name)
        self._found |= {name: self._settled(name) for name in names}
        if refused := [name for name in names if self._is_refused(name)]:
            raise ColumnsError(self._refusal(header, refused))

    def input_of(self, name: str) -> str | None:
        """The column's input; its own name where it is none, and None where it is left out."""
        if name not in self._found:
            self._found[name] = self._place(name)
            self._found[name] = self._settled(name)
        return self._found[name]

    def _place(self, name: str) -> str | None:
        found = self._find(name)
        if found is None or found in self._options.constants:
            return None
        if self._taken.setdefault(found, name) == name:
            return found
        self.doubles[name] = found
        return name

    def _find(self, name: str) -> str | None:
        options = self._options
        if name in options.rename:
            return options.rename[name]
        if name in options.ignore or (name == options.id and name not in self._inputs):
            return None
        if name in self._inputs:
            return name
        if self._only:
            return self._only
        folded = name.strip().casefold()
        fitting = [each for each in self._inputs if each.casefold() == folded and each not in options.rename.values()]
        return fitting[0] if len(fitting) == 1 else name

    def _settled(self, name: str) -> str | None:
        """With ``*``, a column that is no input is left out, unless it may be meant for one."""
        found = self._found[name]
        if found is None or found in self._inputs or OTHERS not in self._options.ignore or self._close(found):
            return found
        return None

    def _is_refused(self, name: str) -> bool:
        found = self._found[name]
        if found is None or not self._knows or (found in self._inputs and name not in self.doubles):
            return False
        return not self._allow_unknown or name in self.doubles or bool(self._close(found))

    def _main(self, header: Header) -> str | None:
        """The input of a file that has one for each row, and no name for it."""
        (name,) = header.names or ("",)
        if name in self._options.rename or not self._knows:
            return None
        required = [each for each in self._required if each not in self._options.constants]
        usual = [each for each in _MAIN if each in self._inputs]
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
                raise ColumnsError(f"{option}: {header.source} has no column {name!r}; it has {_some(names)}")
        for old, new in options.rename.items():
            if self._knows and new not in self._inputs and not self._allow_unknown:
                raise ColumnsError(f"--rename {old}={new}: {self._model} has no input {new}; {self._listed()}")
        renamed = list(options.rename.values())
        if doubled := next((new for new in renamed if renamed.count(new) > 1), None):
            raise ColumnsError(f"--rename: two columns are to be the input {doubled}; leave one out")

    def _close(self, name: str) -> str:
        """An input that no column is yet, and that this one may be meant to be."""
        free = [each for each in self._inputs if each not in self._taken and each not in self._options.constants]
        return next(iter(get_close_matches(name.strip().lower(), free, n=1)), "")

    def _refusal(self, header: Header, refused: Sequence[str]) -> str:
        are = "is no input" if len(refused) == 1 else "are no inputs"
        columns = _some([_column(name) for name in refused])
        said = f"{header.source}: {columns} {are} of {self._model}; {self._listed()}."
        close = [f"{name}={found}" for name in refused if (found := self._close(name))]
        free = [name for name in self._inputs if name not in self._taken]
        if self.doubles:
            said = "".join(
                f"{header.source}: both {_column(self._taken[found])} and {_column(name)} would be the input {found}."
                for name, found in self.doubles.items()
            )
        elif close:
            said += f" Did you mean --rename {shlex.quote(','.join(close))}?"
        elif free:
            said += f" If one is an input: --rename {shlex.quote(f'{refused[0]}={free[0]}')}."
        ignored = ",".join(refused) if len(refused) <= _SHOWN else OTHERS
        said += f" To leave out: --ignore-columns {shlex.quote(ignored)}."
        if header.is_named and any(map(str.isdecimal, refused)):
            said += " (A number is the place of a column without a name; pandas writes none with index=False.)"
        if header.separator:
            said += f" (Columns are divided by {header.separator}; --delimiter names another.)"
        return said

    def _listed(self) -> str:
        return f"it takes {_some(list(self._inputs or ()))}"


def _column(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "") if names else "none"
