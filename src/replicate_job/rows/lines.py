"""Rows of a JSONL file: a JSON object a line."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from replicate_job.rows.opening import BLOCK, reading
from replicate_job.rows.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 64 * 1024**2
"""Bytes of a line."""

_DECODER = msgspec.json.Decoder(dict[str, Any])
_BYTE = re.compile(r" \(byte (\d+)\)$")
_MALFORMED = "JSON is malformed: "


class LineRows:
    """``regular`` is False for a pipe."""

    typed = True

    def __init__(self, file: str, *, regular: bool) -> None:
        self._file, self._regular = file, regular

    def __iter__(self) -> Iterator[Row]:
        with reading(self._file) as file:
            for number, line in enumerate(iter(partial(file.readline, LONGEST + 1), b""), 1):
                text = line.removeprefix(BOM_UTF8) if number == 1 else line
                if len(line) > LONGEST:
                    _skip_line(file, line)
                    yield Row(number, {}, f"the line is longer than {LONGEST // 1024**2} MB")
                elif text.strip():
                    yield _row(number, text)

    def count(self) -> int | None:
        if not self._regular:
            return None
        with reading(self._file) as file:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:
                file.seek(0)
            count, blank = 0, True
            for block in iter(partial(file.read, BLOCK), b""):
                first, *others = block.split(b"\n")
                # The first piece goes on with a line that may have begun in the block before.
                begins = blank and bool(first.strip())
                count += begins + sum(map(bool, map(bytes.strip, others)))
                blank = not others[-1].strip() if others else blank and not begins
        return count


def _skip_line(file: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(BLOCK)


def _row(number: int, text: bytes) -> Row:
    try:
        return Row(number, _DECODER.decode(text))
    except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return Row(number, {}, _problem(text, error))


def _problem(text: bytes, error: Exception) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as fault:
        return f"not UTF-8 text at column {_column(text, fault.start)}"
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
