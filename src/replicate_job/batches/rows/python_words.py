"""Replaces command-line options (``--encoding cp1252``) in messages about rows with Python's arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from replicate_job.batches.rows.columns import OTHERS, parse_columns
from replicate_job.batches.rows.options import FORMATS
from replicate_job.batches.rows.row import Row
from replicate_job.errors import ColumnsError, JobError

_VALUE = r"('[^']*'|\S+?)(?=[.:?)]*(?:\s|$))"
_RENAME, _IGNORED = re.compile(rf"--rename (?=\S*=|'){_VALUE}"), re.compile(rf"--ignore-columns {_VALUE}")
_OFF = re.compile(r"--no-(header|quotes)\b")
_NAMED = re.compile(rf"--(encoding|format) ((?:cp|utf-|latin-)\d+|{'|'.join(FORMATS)})\b")
_OPTION = re.compile(r"--(rename|ignore-columns|id|format|delimiter|encoding|header|set|grid|models)\b")

Read = Callable[[Row], dict[str, Any]]


def in_python(text: str) -> str:
    """The message with ``encoding='cp1252'`` in place of ``--encoding cp1252``."""
    text = _RENAME.sub(lambda found: f"rename={parse_columns(shlex.split(found[1]), ()).rename!r}", text)
    text = _IGNORED.sub(lambda found: f"ignore_columns={_ignored(found[1])!r}", text)
    text = _NAMED.sub(r"\1='\2'", _OFF.sub(r"\1=False", text))
    return _OPTION.sub(lambda found: found[1].replace("-", "_"), text)


def _ignored(value: str) -> str | list[str]:
    (names,) = shlex.split(value)
    return names if names == OTHERS else names.split(",")


@contextmanager
def python_words() -> Iterator[None]:
    """Within the block, errors about a file of rows name Python's arguments."""
    try:
        yield
    except JobError as error:
        raise _renamed(error) from None


def _renamed(error: JobError) -> JobError:
    """The error, with Python's arguments in its message if the message is about a file of rows."""
    return type(error)(in_python(str(error))) if type(error) in {JobError, ColumnsError} else error


def rows_in_python(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        yield msgspec.structs.replace(row, problem=in_python(row.problem)) if row.problem else row


def read_in_python(make: Callable[[dict[str, Any] | None], Read]) -> Callable[[dict[str, Any] | None], Read]:
    """Wrap ``make``, so that the functions that it returns raise errors that name Python's arguments."""

    def made(schema: dict[str, Any] | None) -> Read:
        with python_words():
            read = make(schema)

        def read_row(row: Row) -> dict[str, Any]:
            try:  # a context manager would slow down a million rows
                return read(row)
            except JobError as error:
                raise _renamed(error) from None

        return read_row

    return made
