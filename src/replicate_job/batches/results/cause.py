"""Why rows came to nothing: errors that differ in their particulars only are one cause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from replicate_job.batches.results.record import NO_PREDICTION, tail
from replicate_job.job import Result
from replicate_job.quantity import one_line

DISTINCT = 50
"""Causes kept apart; those that appear later are counted together."""

_READ = 600  # characters of an error that tell it from others
_LENGTH = 2000  # characters kept of it: a page that a server sent is not
_LINES = 5
_LOGS = 2000  # characters of the first row's logs

# A status is the error itself; an address, a quotation, a path, and each word with a digit (an id, a number, a file's
# name) or of hex digits alone is a particular of it.
_PARTICULARS = re.compile(
    r"(HTTP \d{3}\b)"
    r"|(?:https?|data|file):\S+"
    r"|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)|`[^`\n]*`"
    r"|[\w.@%+~-]*/[\w.@%+~/-]*"
    r"|[\w.-]*\d(?:[\w.-]*\w)?"
    r"|\b[0-9a-fA-F]{8,}\b"
)


class Cause(msgspec.Struct):
    """``text`` is the first error of its kind; ``lines`` are its first few rows, of ``count``.

    ``logs`` is the end of what the model wrote for the first of these rows that has any, which is ``logged``.
    """

    text: str
    count: int = 0
    lines: list[int] = []
    logs: str = ""
    logged: int = 0


class Causes:
    """Flat in memory however many errors come. Iterates from the most frequent."""

    def __init__(self) -> None:
        self._causes: dict[str, Cause] = {}
        self._other = Cause("other errors")

    def add(self, result: Result) -> None:
        """Nothing for a row that has no error."""
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
        if len(cause.lines) < _LINES:
            cause.lines.append(result.line)
        if result.logs and not cause.logs:
            cause.logs, cause.logged = tail(result.logs, _LOGS), result.line

    def __iter__(self) -> Iterator[Cause]:
        yield from sorted(self._causes.values(), key=lambda cause: -cause.count)
        if self._other.count:
            yield self._other


def error_of(result: Result) -> str:
    """What went wrong with the row; empty where nothing did, or where it was canceled without a word."""
    found: Any = result.problem or result.error
    if found:
        return found if isinstance(found, str) else msgspec.json.encode(found, enc_hook=str).decode()
    return "the API gives no reason" if result.status in {"failed", NO_PREDICTION} else ""


def pattern(error: str) -> str:
    """The error without its particulars: equal for two errors of one cause."""
    return " ".join(_PARTICULARS.sub(lambda found: found[1] or "#", error[:_READ]).split())
