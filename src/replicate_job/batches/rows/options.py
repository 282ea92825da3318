"""The format of a file of rows, and the user's options for reading it."""

from __future__ import annotations

from pathlib import PurePath

import msgspec

from replicate_job.errors import JobError

FORMATS = {
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "txt": (".txt",),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather"),
}
"""Each format, and the suffixes of its files. The name of a file compressed by gzip has ``.gz`` after the suffix."""
COMPRESSED = ".gz"
_DELIMITED = {"csv", "tsv"}
_TEXT = {"jsonl", "json", "csv", "tsv", "txt"}
_ADVICE = {
    ".xlsx": "save it as CSV UTF-8",
    ".xls": "save it as CSV UTF-8",
    ".ods": "save it as CSV UTF-8",
    ".zip": "unpack it",
    ".bz2": "bzcat FILE | replicate-job batch … - --format csv",
    ".xz": "xzcat FILE | replicate-job batch … - --format csv",
    ".zst": "zstdcat FILE | replicate-job batch … - --format csv",
}


class ReadOptions(msgspec.Struct, frozen=True):
    """The user's options for a file of rows. If an option is None, the reader detects it.

    ``header`` is True if the first line has the names of the columns, and False if the columns have no names. If it is
    a tuple, it has the names of the columns, and the first line is a row. ``quotes`` is False if quotes are text.
    """

    format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    header: tuple[str, ...] | bool = True
    quotes: bool = True


def format_of(file: str, options: ReadOptions, *, regular: bool) -> str:
    """The format of the file. Raises JobError if the format is unknown, and for options that the format lacks."""
    name = options.format or _format_by_suffix(file, regular=regular)
    if name not in FORMATS:
        raise JobError(f"there is no format {name!r}: give {', '.join(FORMATS)}")
    if name not in _DELIMITED and (options.delimiter or options.header is not True or not options.quotes):
        raise JobError(f"{file} is read as {name}: delimiters, headers and quotes are for csv and tsv (--format csv)")
    if options.encoding is not None:
        _check_encoding(options.encoding)
        if name not in _TEXT:
            raise JobError(f"{file} is read as {name}, which has no encoding")
    return name


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)  # unlike codecs.lookup, this raises for a codec that is not for text
    except (LookupError, ValueError):
        raise JobError(f"there is no encoding {encoding!r}; give utf-8, utf-16, cp1252, latin-1 …") from None


def _format_by_suffix(file: str, *, regular: bool) -> str:
    path = PurePath(file.lower())
    suffix = PurePath(path.stem).suffix if path.suffix == COMPRESSED else path.suffix
    for name, suffixes in FORMATS.items():
        if suffix in suffixes:
            return name
    if not regular:  # the name of a pipe, like that of <(…) in a shell, has no suffix
        return "jsonl"
    advice = _ADVICE.get(path.suffix, f"or say what it is: --format {', '.join(FORMATS)}")
    known = [suffix for suffixes in FORMATS.values() for suffix in suffixes]
    raise JobError(f"{file}: a file of rows ends in {', '.join(known)}, or one of them and {COMPRESSED}; {advice}")
