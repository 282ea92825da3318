"""How a file of rows is read, where a person says so."""

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
"""Each format, and the suffixes of its files; each may be packed, and end in ``.gz`` then."""
PACKED = ".gz"
_TABLES = {"csv", "tsv"}
_TEXTS = {"jsonl", "json", "csv", "tsv", "txt"}
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
    """What is None is recognised.

    ``header`` is False for a file whose first line is a row, or the names of its columns. ``quotes`` is False where a
    quote is text.
    """

    format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    header: tuple[str, ...] | bool = True
    quotes: bool = True


def format_of(file: str, options: ReadOptions, *, regular: bool) -> str:
    """The format. Raises JobError where none can be told, and for options that do not go with it."""
    found = options.format or _by_name(file, regular=regular)
    if found not in FORMATS:
        raise JobError(f"there is no format {found!r}: {', '.join(FORMATS)}")
    if found not in _TABLES and (options.delimiter or options.header is not True or not options.quotes):
        raise JobError(f"{file} is read as {found}: delimiters, headers and quotes are for csv and tsv (--format csv)")
    if options.encoding is not None:
        check_encoding(options.encoding)
        if found not in _TEXTS:
            raise JobError(f"{file} is read as {found}, which has no encoding")
    return found


def check_encoding(encoding: str) -> None:
    """Raise JobError for what Python knows as no encoding of text."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise JobError(f"there is no encoding {encoding!r}; give utf-8, utf-16, cp1252, latin-1 …") from None


def _by_name(file: str, *, regular: bool) -> str:
    name = PurePath(file.lower())
    suffix = PurePath(name.stem).suffix if name.suffix == PACKED else name.suffix
    for found, suffixes in FORMATS.items():
        if suffix in suffixes:
            return found
    if not regular:
        return "jsonl"
    advice = _ADVICE.get(name.suffix, f"or say what it is: --format {', '.join(FORMATS)}")
    known = [each for suffixes in FORMATS.values() for each in suffixes]
    raise JobError(f"{file}: a file of rows ends in {', '.join(known)}, or one of them and {PACKED}; {advice}")
