"""The separator of a table, and whether quotes are text: given by the user, or detected in the first lines."""

from __future__ import annotations

import csv

import msgspec

from replicate_job.errors import JobError

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars (|)"}
"""The separators that are detected, and their names in messages."""
NONE = "\x1f"
"""A separator that occurs in no text. A table of one column has it, so that its commas are text."""
_SELDOM_QUOTED = {"\t", "|"}
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "space": " "}
_LINES = 200  # the first lines, in which the separator is detected


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
        """Whether most tables with this separator have no quotes, since text seldom contains it."""
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
    """Detect the separator: the one that gives all lines equally many cells, else the most frequent in the first line.

    ``sample`` is the beginning of the file; ``usual`` is the separator that its suffix stands for.
    """
    lines = [line for line in sample.splitlines(keepends=True)[:_LINES] if line.strip()]
    if not lines:
        return usual
    # The usual separator is tried first, then the others by how often they are in the first line.
    order = sorted(SEPARATORS, key=lambda separator: (separator != usual, -lines[0].count(separator)))
    for separator in order:
        if separator in lines[0] and _is_even(lines, separator):
            return separator
    if usual in lines[0]:
        return usual
    most_frequent = max(order, key=lines[0].count)
    return most_frequent if most_frequent in lines[0] else NONE


def _is_even(lines: list[str], separator: str) -> bool:
    """Whether every row has as many cells as the first: with quotes, or else without."""
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            widths = {len(cells) for cells in csv.reader(lines, delimiter=separator, quoting=quoting) if cells}
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:  # with a separator that occurs nowhere, every line has one cell
            return True
    return False
