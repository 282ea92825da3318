"""Rows of files with one row on each line: JSON Lines, and plain text."""

from __future__ import annotations

import json
import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from replicate_job.batches.rows.row import Header, Row, Rows
from replicate_job.batches.rows.source import BLOCK, reading
from replicate_job.decoding import decoder
from replicate_job.wire.bounds import ROW, ROW_HEAVIEST, is_heavy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOO_LONG = f"the line is longer than {ROW // 1024**2} MB; give what is large as a file or a URL"
HEAVY = f"its values take more than {ROW_HEAVIEST // 1024**2} MB of memory; give what is large as a file or a URL"
_TEXT_COLUMN = "1"  # the only column of a text file is named by its number
_DECODER = decoder(dict[str, Any])
_BYTE = re.compile(r" \(byte (\d+)\)$")
_MALFORMED = "JSON is malformed: "


class TextRows(Rows):
    """Rows of a text file. Each line is a text for the model's main input. ``regular`` is False for a pipe."""

    typed = False

    def __init__(self, file: str, *, regular: bool, encoding: str | None = None) -> None:
        self._file, self._regular, self._encoding = file, regular, encoding

    def header(self) -> Header:
        return Header(self._file, (_TEXT_COLUMN,), is_whole=True, is_named=False)

    def __iter__(self) -> Iterator[Row]:
        with reading(self._file, self._encoding) as file:
            yield from read_lines(file, _text_row)

    def count(self, limit: int | None = None) -> int | None:
        return sum(1 for _ in islice(self, limit)) if self._regular else None


def read_lines(file: BinaryIO, read: Callable[[int, bytes], Row]) -> Iterator[Row]:
    """Yield a row for each line that is not blank.

    ``read`` makes the row from the line's number (from 1) and its bytes.
    """
    for number, line in enumerate(iter(partial(file.readline, ROW + 1), b""), 1):
        if len(line) > ROW:
            _skip_rest(file, line)
            yield Row(number, {}, TOO_LONG)
        elif line.strip():
            yield read(number, line)


def _skip_rest(file: BinaryIO, line: bytes) -> None:
    """Read to the end of the line that begins with ``line``, block by block, since the line may not fit into memory."""
    while line and not line.endswith(b"\n"):
        line = file.readline(BLOCK)


def count_lines(file: BinaryIO) -> int:
    """The number of lines that are not blank."""
    count, is_blank = 0, True
    for block in iter(partial(file.read, BLOCK), b""):
        first, *others = block.split(b"\n")
        # The first piece continues the last line of the block before. It counts only if that line was blank so far.
        begins = is_blank and bool(first.strip())
        count += begins + sum(map(bool, map(bytes.strip, others)))
        is_blank = not others[-1].strip() if others else is_blank and not begins
    return count


def json_row(number: int, text: bytes) -> Row:
    """The row from a JSON object of at most ``ROW`` bytes."""
    if is_heavy(text, ROW_HEAVIEST):
        return Row(number, {}, HEAVY)
    try:
        return Row(number, _DECODER.decode(text))
    except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return Row(number, {}, problem_of(text, error))


def _text_row(number: int, line: bytes) -> Row:
    try:
        return Row(number, {_TEXT_COLUMN: line.rstrip(b"\r\n").decode()})
    except UnicodeDecodeError:
        return Row(number, {}, "not UTF-8 text (--encoding cp1252, or what it is, reads it)")


def problem_of(text: bytes, error: Exception) -> str:
    """The reason why the text is not a JSON object, with the column if it is known."""
    try:
        text.decode()
    except UnicodeDecodeError as fault:
        return f"not UTF-8 text at column {_column(text, fault.start)} (--encoding cp1252, or what it is, reads it)"
    message = str(error)
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        message = message.partition(" - at ")[0].replace("`", "")
        message = f"{message[0].lower()}{message[1:]}"
        return f"not a JSON object: {message}" if message.startswith("expected") else f"broken JSON: {message}"
    byte = _BYTE.search(message)
    if byte is None or not text[int(byte[1]) :].strip():
        return "broken JSON: " + ("half of a \\u pair" if _is_whole(text) else "the line ends before its closing }")
    message, position = message[: byte.start()].removeprefix(_MALFORMED), int(byte[1])
    # msgspec 0.20 reports the byte after the first trailing character.
    return f"broken JSON: {message} at column {_column(text, position - message.startswith('trailing'))}"


def _is_whole(text: bytes) -> bool:
    """Whether the JSON ends properly.

    If so, the fault is half of a surrogate pair, which msgspec also reports as truncated.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _column(text: bytes, position: int) -> int:
    """The number (from 1) of the character at that byte."""
    return len(text[:position].decode(errors="replace")) + 1
