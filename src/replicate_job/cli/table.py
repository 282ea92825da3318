"""Formats tables in plain text. The first row has the headings, and each column is as wide as its widest cell."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from replicate_job.cli.streams import is_shown

_NARROWEST = 40  # the smallest width of notes, in characters

Row = Sequence[str]


def aligned(rows: Sequence[Row]) -> list[str]:
    """One line for each row. Line breaks within a cell are removed."""
    flat = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*flat, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in flat]


def table(rows: Sequence[Row]) -> str:
    return "".join(f"{line}\n" for line in aligned(rows))


def with_notes(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """A table whose last column is a longer text. The first of the ``notes`` is that column's heading.

    On a terminal each note is wrapped below its row. A pipe gets one line for each row.
    """
    return _stacked(rows, notes) if is_shown() else table([[*row, note] for row, note in zip(rows, notes, strict=True)])


def _stacked(rows: Sequence[Row], notes: Sequence[str]) -> str:
    width = max(shutil.get_terminal_size().columns, _NARROWEST)
    head, *lines = aligned(rows)
    shown = [head]
    for line, note in zip(lines, notes[1:], strict=True):
        shown.append(line)
        shown += textwrap.wrap(note, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(shown) + "\n"
