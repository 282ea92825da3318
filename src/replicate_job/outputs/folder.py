"""Checks the folder for outputs before anything is paid for."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from replicate_job.errors import JobError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_PROBE = bytes(4096)


def check_folder(folder: Path) -> None:
    """Raise JobError if no file can be written into the folder, and OutputError if its disk is full. Blocks.

    A file is written and removed: permissions alone ignore root, read-only disks and quotas. A missing folder is not
    made; its nearest parent is tried.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder)  # a name too long, a parent that cannot be entered
        nearest = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
        if not nearest.is_dir():
            raise JobError(f"outputs cannot be kept in {folder}: {nearest} is not a folder; name another")
        _write_in(nearest)
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(
                f"outputs cannot be kept in {folder}: {error.strerror}; make room, or name another"
            ) from None
        raise JobError(f"outputs cannot be kept in {folder}: {error.strerror}; name another folder") from None
    except ValueError:  # a null byte
        raise JobError(f"outputs cannot be kept in {str(folder)!r}: that is not the name of a folder") from None


def _write_in(folder: Path) -> None:
    probe = folder / f".replicate-job.{os.urandom(6).hex()}.part"
    try:
        with probe.open("xb", buffering=0) as file:
            with suppress(PermissionError):  # Windows removes no file that is open
                probe.unlink()  # before it is written: a process that is killed leaves nothing behind
            file.write(_PROBE)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
