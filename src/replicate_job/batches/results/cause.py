"""The causes of failed rows. Errors that differ only in details, such as ids and numbers, have one cause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from replicate_job.batches.results.record import NO_PREDICTION, tail
from replicate_job.job import Result
from replicate_job.quantity import one_line

DISTINCT = 50
"""The most causes that are counted apart. All later causes are counted together."""

_COMPARED = 600  # characters of an error that are compared with other errors
_LENGTH = 2000  # characters of an error that are stored: a server may send a whole page
_LINES = 5
_LOGS = 2000  # the number of characters that are kept from the end of the first row's logs

# Details of an error: an address, a quotation, a path, and each word that has a digit (an id, a number, a file's name)
# or only hex digits. An HTTP status is not a detail.
_PARTICULARS = re.compile(
    r"(HTTP \d{3}\b)"
    r"|(?:https?|data|file):\S+"
    r"|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)|`[^`\n]*`"
    r"|[\w.@%+~-]*/[\w.@%+~/-]*"
    r"|[\w.-]*\d(?:[\w.-]*\w)?"
    r"|\b[0-9a-fA-F]{8,}\b"
)


class Cause(msgspec.Struct):
    """A cause of failed rows.

    ``text`` is the first error with this cause, ``count`` the number of rows, and ``lines`` has the lines of the first
    few. ``logs`` is the end of the logs of the first of these rows that has logs; ``logged`` is that row's line.
    ``is_shared``: all rows have exactly this text. Otherwise ``text`` has the details of the first row's error.
    """

    text: str
    count: int = 0
    lines: list[int] = []
    is_shared: bool = True
    logs: str = ""
    logged: int = 0

    @property
    def place(self) -> str:
        """The line that the text is from: ``line 4``, or ``as in line 4`` if other rows' errors have other details."""
        return f"line {self.lines[0]}" if self.is_shared else f"as in line {self.lines[0]}"


class Causes:
    """Counts errors in a fixed amount of memory. Iterating yields the most frequent cause first."""

    def __init__(self) -> None:
        self._causes: dict[str, Cause] = {}
        self._other = Cause("other errors")

    def add(self, result: Result) -> None:
        """Count the row's error, if it has one."""
        text = error_of(result)
        if not text:
            return
        kind = pattern(text)
        cause = self._causes.get(kind)
        if cause is None:
            cause = Cause(one_line(text, _LENGTH), lines=[]) if len(self._causes) < DISTINCT else self._other
            if cause is not self._other:
                self._causes[kind] = cause
        cause.count += 1
        if cause is not self._other:
            cause.is_shared = cause.is_shared and cause.text == one_line(text, _LENGTH)
        if len(cause.lines) < _LINES:
            cause.lines.append(result.line)
        if result.logs and not cause.logs:
            cause.logs, cause.logged = tail(result.logs, _LOGS), result.line

    def __iter__(self) -> Iterator[Cause]:
        yield from sorted(self._causes.values(), key=lambda cause: -cause.count)
        if self._other.count:
            yield self._other


def error_of(result: Result) -> str:
    """The row's error; empty if the row succeeded, or was canceled without an error."""
    error: Any = result.problem or result.error
    if error:
        return error if isinstance(error, str) else msgspec.json.encode(error, enc_hook=str).decode()
    return "the API gives no reason" if result.status in {"failed", NO_PREDICTION} else ""


def pattern(error: str) -> str:
    """The error without its details. Errors with the same cause have the same pattern."""
    return " ".join(_PARTICULARS.sub(lambda match: match[1] or "#", error[:_COMPARED]).split())
