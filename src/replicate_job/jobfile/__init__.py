"""Job files: read one in any of three formats, and write a job as a run.xs file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replicate_job.errors import JobFileError
from replicate_job.job import MAX_POLL_ATTEMPTS, POLL_INTERVAL
from replicate_job.jobfile.fields import to_job
from replicate_job.jobfile.printing import to_xanoscript
from replicate_job.jobfile.source import Source
from replicate_job.wire.bounds import LARGEST, ROW_HEAVIEST, is_heavy

if TYPE_CHECKING:
    from replicate_job.chain import Chain
    from replicate_job.job import Job

__all__ = ["SUFFIXES", "load", "load_chain", "load_job", "to_xanoscript"]

SUFFIXES = (".xs", ".toml", ".json")
"""The suffixes of job files, one for each format."""
ORIGINAL = {"poll_interval": POLL_INTERVAL, "max_poll_attempts": MAX_POLL_ATTEMPTS}
"""The original run job's defaults, for names that a run.xs file leaves out. Other formats have ``Job``'s defaults."""


def load_job(path: str | os.PathLike[str]) -> Job:
    """Read a job file: XanoScript's ``run.job`` (.xs), TOML or JSON.

    A string that starts with ``@`` is kept as it is, and does not name a file to send. Raises JobFileError for a file
    that cannot be read, does not parse, or is not a job of ``replicate_run_prediction``.
    """
    source, found = _read(path)
    if isinstance(found, dict):
        raise source.error("this file is a chain of steps, and no job", hint="load_chain reads it")
    return found


def load_chain(path: str | os.PathLike[str]) -> Chain:
    """Read a chain: a TOML or JSON file with steps. Raises JobFileError."""
    from replicate_job.chain import Chain  # noqa: PLC0415 - for chains only

    found = load(path)
    if not isinstance(found, Chain):
        raise JobFileError("this file is a job, and no chain of steps (load_job reads it)", file=os.fspath(path))
    return found


def load(path: str | os.PathLike[str]) -> Job | Chain:
    """Read a job file or a chain. Raises JobFileError."""
    source, found = _read(path)
    if isinstance(found, dict):
        from replicate_job.jobfile.steps import to_chain  # noqa: PLC0415 - for chains only

        return to_chain(found, source)
    return found


def _read(path: str | os.PathLike[str]) -> tuple[Source, Job | dict[str, Any]]:
    """Read a file. Returns its text and its job; for a file with steps, the whole table in place of the job.

    Imports only the reader of the file's format.
    """
    file = os.fspath(path)
    suffix = Path(file).suffix.lower()
    if suffix not in SUFFIXES:
        raise JobFileError(f"the name of a job file ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}", file=file)
    source = Source(_text(file), file)
    if suffix == ".xs":
        from replicate_job.jobfile.xanoscript import read  # noqa: PLC0415 - see above

        return source, to_job(read(source), source, ORIGINAL)
    from replicate_job.jobfile import flat  # noqa: PLC0415 - see above

    table = flat.parse(source)
    return source, table if "step" in table else to_job(flat.to_run_job(table, source), source)


def _text(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise JobFileError(f"cannot read this file: {(error.strerror or str(error)).lower()}", file=file) from None
    except ValueError:
        raise JobFileError("cannot read this file: its name has a NUL character", file=file) from None
    if len(data) > LARGEST:
        raise JobFileError(f"larger than {LARGEST // 1024**2} MB", file=file)
    if is_heavy(data, ROW_HEAVIEST):
        said = f"its values take more than {ROW_HEAVIEST // 1024**2} MB of memory; give files as @path or URLs"
        raise JobFileError(said, file=file)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        start = Source(data[: error.start].decode(), file)
        hint = "save it as UTF-8, not UTF-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "save it as UTF-8"
        raise start.error("not UTF-8 text", len(start.text), hint) from None
