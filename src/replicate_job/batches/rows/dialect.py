"""What divides the cells of a table: told, or recognised by its first lines."""

from __future__ import annotations

import csv

import msgspec

from replicate_job.errors import JobError

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars (|)"}
"""What is recognised, in words for people."""
NONE = "\x1f"
"""A separator that no text has, for a table of one column: a comma in it is text then."""
_PLAIN = {"\t", "|"}
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "space": " "}
_LINES = 200  # that are looked at


class Dialect(msgspec.Struct, frozen=True):
    """``is_told``: someone has said what divides the cells. Without ``quotes``, a quote is text."""

    separator: str
    quotes: bool = True
    is_told: bool = False

    @property
    def words(self) -> str:
        return SEPARATORS.get(self.separator, repr(self.separator)) if self.separator != NONE else ""

    @property
    def is_plain(self) -> bool:
        """Whether such tables are mostly written without quotes, so that text seldom has what divides its cells."""
        return self.separator in _PLAIN

    def split(self, line: str) -> list[str]:
        """The cells of a line in which quotes are text."""
        return line.rstrip("\r\n").split(self.separator)


def parse_separator(text: str) -> str:
    """Read a character, or a word for one. Raises JobError for what is neither."""
    found = _WORDS.get(text.lower(), text)
    if len(found) != 1 or found in '"\r\n\0':
        raise JobError(f"the delimiter {text!r} is no single character: give one, or tab, semicolon, pipe")
    return found


def recognise(sample: str, usual: str) -> str:
    """The separator with which all first lines have as many cells, else the most frequent one of the first line.

    ``sample`` is how the file begins, ``usual`` what its suffix promises.
    """
    lines = [line for line in sample.splitlines(keepends=True)[:_LINES] if line.strip()]
    if not lines:
        return usual
    order = sorted(SEPARATORS, key=lambda each: (each != usual, -lines[0].count(each)))
    for separator in order:
        if separator in lines[0] and _is_even(lines, separator):
            return separator
    most = max(order, key=lines[0].count)
    if usual in lines[0]:
        return usual
    return most if most in lines[0] else NONE


def _is_even(lines: list[str], separator: str) -> bool:
    """Whether every row has as many cells as the first: with quotes, or else without."""
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            widths = {len(cells) for cells in csv.reader(lines, delimiter=separator, quoting=quoting) if cells}
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:
            return True
    return False
