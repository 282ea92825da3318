"""The rows of a batch's input file, read as they are needed, and converted to the inputs of a model.

``open_rows`` reads a file in any of ``FORMATS``, compressed by gzip or not, and detects its encoding and separator.
``RowReader`` converts a row: columns to inputs, and values to the inputs' types.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from replicate_job.batches.rows.columns import ColumnOptions, parse_columns
from replicate_job.batches.rows.options import FORMATS, ReadOptions, format_of
from replicate_job.batches.rows.row import Header, Row, Rows
from replicate_job.batches.rows.row_reader import RowReader
from replicate_job.errors import JobError

__all__ = [
    "FORMATS",
    "ColumnOptions",
    "Header",
    "ReadOptions",
    "Row",
    "RowReader",
    "Rows",
    "open_rows",
    "parse_columns",
]


def open_rows(source: str | os.PathLike[str], options: ReadOptions | None = None) -> Rows:
    """The rows of a file, or of stdin (``-``).

    Stdin is JSON Lines by default, and so is a pipe whose name has no known suffix. Raises JobError for a file that
    cannot be read at all: a missing file, a directory, an unknown suffix, a CSV without a header, a damaged Parquet
    file, or a Parquet file without pyarrow to read it.
    """
    file, options = os.fspath(source), options or ReadOptions()
    regular = file != "-" and _is_regular(file)
    # Each format's module is imported when a file needs it: pyarrow alone takes longer than a small batch.
    match format_of(file, options, regular=regular):
        case "csv" | "tsv" as kind:
            from replicate_job.batches.rows.delimited import DelimitedRows  # noqa: PLC0415

            return DelimitedRows(file, "\t" if kind == "tsv" else ",", options, regular=regular)
        case "txt":
            from replicate_job.batches.rows.lines import TextRows  # noqa: PLC0415

            return TextRows(file, regular=regular, encoding=options.encoding)
        case "parquet":
            from replicate_job.batches.rows.parquet import ParquetRows  # noqa: PLC0415

            return ParquetRows(file, regular=regular)
        case "arrow":
            from replicate_job.batches.rows.arrow import ArrowRows  # noqa: PLC0415

            return ArrowRows(file, regular=regular)
        case kind:
            from replicate_job.batches.rows.document import JSONRows  # noqa: PLC0415

            return JSONRows(file, regular=regular, encoding=options.encoding, lines=kind == "jsonl")


def _is_regular(file: str) -> bool:
    """Whether the file is a regular file: unlike a pipe, it can be read again. Raises JobError for a directory."""
    try:
        mode = Path(file).stat().st_mode
        if stat.S_ISDIR(mode):
            raise JobError(f"{file} is a directory, not a file of rows")
        if stat.S_ISREG(mode):
            with Path(file).open("rb"):
                return True
    except OSError as error:
        raise JobError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise JobError(f"cannot read {file!r}: its name has a NUL character") from None
    return False
