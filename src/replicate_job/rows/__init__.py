"""The rows of a batch's input file, one model input each, read as they are needed: JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from replicate_job.errors import JobError
from replicate_job.rows.row import Row, Rows
from replicate_job.rows.values import InputReader

__all__ = ["SUFFIXES", "InputReader", "Row", "Rows", "open_rows"]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""The endings of an input file's name; each is a format."""

_UTF16 = {b"\xff\xfe", b"\xfe\xff"}


def open_rows(source: str | os.PathLike[str]) -> Rows:
    """The rows of a file, or of stdin (``-``), which is JSONL, as is a pipe whose name ends in no known suffix.

    Raises JobError for what cannot be read at all: no such file, a directory, an unknown suffix, UTF-16, a CSV without
    a proper header, a damaged Parquet file, or one without pyarrow to read it.
    """
    file = os.fspath(source)
    suffix, regular = (".jsonl", False) if file == "-" else (Path(file).suffix.lower(), _is_regular(file))
    match suffix:
        case ".csv" | ".tsv":
            from replicate_job.rows.delimited import DelimitedRows  # noqa: PLC0415

            return DelimitedRows(file, "\t" if suffix == ".tsv" else ",", regular=regular)
        case ".parquet":
            from replicate_job.rows.parquet import ParquetRows  # noqa: PLC0415

            return ParquetRows(file, regular=regular)
        case _ if suffix in SUFFIXES or not regular:
            from replicate_job.rows.lines import LineRows  # noqa: PLC0415

            return LineRows(file, regular=regular)
    raise JobError(f"{file}: the name of a file of rows ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def _is_regular(file: str) -> bool:
    """Whether it is a file that can be read again. Raises JobError unless it is that, or something like a pipe."""
    try:
        mode = Path(file).stat().st_mode
        if stat.S_ISDIR(mode):
            raise JobError(f"{file} is a directory, not a file of rows")
        if not stat.S_ISREG(mode):
            return False
        with Path(file).open("rb") as opened:
            if opened.read(2) in _UTF16:
                raise JobError(f"{file} is UTF-16; save it as UTF-8")
    except OSError as error:
        raise JobError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise JobError(f"cannot read {file!r}: its name has a NUL character") from None
    return True
