"""Rows of a JSON Lines file: a JSON object a line."""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from replicate_job.batches.rows.row import HEAD, Header, Row, names_of
from replicate_job.batches.rows.source import BLOCK, reading
from replicate_job.wire.bounds import ROW, ROW_HEAVIEST, is_heavy

if TYPE_CHECKING:
    from collections.abc import Iterator

TOO_LONG = f"the line is longer than {ROW // 1024**2} MB; give what is large as a file or a URL"
HEAVY = f"its values take more than {ROW_HEAVIEST // 1024**2} MB of memory; give what is large as a file or a URL"
_DECODER = msgspec.json.Decoder(dict[str, Any])
_BYTE = re.compile(r" \(byte (\d+)\)$")
_MALFORMED = "JSON is malformed: "


class LineRows:
    """``regular`` is False for a pipe."""

    typed = True

    def __init__(self, file: str, *, regular: bool, encoding: str | None = None) -> None:
        self._file, self._regular, self._encoding = file, regular, encoding

    def header(self) -> Header:
        return Header(self._file, names_of(islice(self, HEAD)) if self._regular else None)

    def __iter__(self) -> Iterator[Row]:
        with reading(self._file, self._encoding) as file:
            yield from read_lines(file)

    def count(self, most: int | None = None) -> int | None:
        if not self._regular:
            return None
        if most is not None:
            return sum(1 for _ in islice(self, most))
        with reading(self._file, self._encoding) as file:
            return _count(file)

    def remarks(self) -> list[str]:
        return []


def read_lines(file: BinaryIO) -> Iterator[Row]:
    """A row for each line that is not blank."""
    for number, line in enumerate(iter(partial(file.readline, ROW + 1), b""), 1):
        if len(line) > ROW:
            skip_line(file, line)
            yield Row(number, {}, TOO_LONG)
        elif line.strip():
            yield row_of(number, line)


def skip_line(file: BinaryIO, line: bytes) -> None:
    """Read on to the end of a line that has begun with ``line``."""
    while line and not line.endswith(b"\n"):
        line = file.readline(BLOCK)


def _count(file: BinaryIO) -> int:
    count, blank = 0, True
    for block in iter(partial(file.read, BLOCK), b""):
        first, *others = block.split(b"\n")
        # The first piece goes on with a line that may have begun in the block before.
        begins = blank and bool(first.strip())
        count += begins + sum(map(bool, map(bytes.strip, others)))
        blank = not others[-1].strip() if others else blank and not begins
    return count


def row_of(number: int, text: bytes) -> Row:
    """The row that the JSON is, which is no longer than ``ROW``."""
    if is_heavy(text, ROW_HEAVIEST):
        return Row(number, {}, HEAVY)
    try:
        return Row(number, _DECODER.decode(text))
    except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return Row(number, {}, problem_of(text, error))


def problem_of(text: bytes, error: Exception) -> str:
    """Why the text is no JSON object, with the column where that is known."""
    try:
        text.decode()
    except UnicodeDecodeError as fault:
        return f"not UTF-8 text at column {_column(text, fault.start)} (--encoding cp1252, or what it is, reads it)"
    said = str(error)
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        said = said.partition(" - at ")[0].replace("`", "")
        said = f"{said[0].lower()}{said[1:]}"
        return f"not a JSON object: {said}" if said.startswith("expected") else f"broken JSON: {said}"
    place = _BYTE.search(said)
    if place is None:
        return "broken JSON: it ends too early, or has half of a \\u pair"
    said, at = said[: place.start()].removeprefix(_MALFORMED), int(place[1])
    # msgspec 0.20 gives the byte after the first of the trailing characters.
    return f"broken JSON: {said} at column {_column(text, at - said.startswith('trailing'))}"


def _column(text: bytes, at: int) -> int:
    """The character at that byte, from 1."""
    return len(text[:at].decode(errors="replace")) + 1
