"""The separator of a table, given by the user or detected in the first lines, and whether quotes are text."""

from __future__ import annotations

import csv

import msgspec

from replicate_job.errors import JobError

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars (|)"}
"""The separators that are detected, and their names in messages."""
NONE = "\x1f"
"""The separator of a table with one column, whose commas are text. It occurs in no text."""
_SELDOM_QUOTED = {"\t", "|"}
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "space": " "}
_LINES = 200  # the number of first lines in which the separator is detected


class Dialect(msgspec.Struct, frozen=True):
    """The form of a table. ``quotes`` is False if quotes are text."""

    separator: str
    quotes: bool = True

    @property
    def words(self) -> str:
        """The separator's name in messages; empty for a table of one column."""
        return SEPARATORS.get(self.separator, repr(self.separator)) if self.separator != NONE else ""

    @property
    def is_seldom_quoted(self) -> bool:
        """Whether most tables with this separator have no quotes, since text seldom contains the separator."""
        return self.separator in _SELDOM_QUOTED

    def split(self, line: str) -> list[str]:
        """The cells of a line in which quotes are text."""
        return line.rstrip("\r\n").split(self.separator)


def parse_separator(text: str) -> str:
    """Read a separator: a character, or the name of one. Raises JobError for anything else."""
    separator = _WORDS.get(text.lower(), text)
    if len(separator) != 1 or separator in '"\r\n\0':
        raise JobError(f"the delimiter {text!r} is not a single character: give one, or tab, semicolon, pipe")
    return separator


def recognise(sample: str, usual: str) -> str:
    """Detect the separator that splits all lines into equally many cells.

    If there is none, use ``usual`` if the first line contains it, else the most frequent separator in the first line,
    else ``NONE``. ``sample`` is the beginning of the file; ``usual`` is the usual separator for the file's suffix.
    """
    lines = [line for line in sample.splitlines(keepends=True)[:_LINES] if line.strip()]
    if not lines:
        return usual
    # Try the usual separator first, then the others by their number in the first line.
    order = sorted(SEPARATORS, key=lambda separator: (separator != usual, -lines[0].count(separator)))
    for separator in order:
        if separator in lines[0] and _is_even(lines, separator):
            return separator
    if usual in lines[0]:
        return usual
    most_frequent = max(order, key=lines[0].count)
    return most_frequent if most_frequent in lines[0] else NONE


def _is_even(lines: list[str], separator: str) -> bool:
    """Whether all rows have the same number of cells, above one, with quotes read as quotes or with quotes as text."""
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            widths = {len(cells) for cells in csv.reader(lines, delimiter=separator, quoting=quoting) if cells}
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:  # without the separator, every line has one cell
            return True
    return False
