"""The folder for outputs: it is tested before anything is paid for, and written to later."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_job.aio import in_thread
from replicate_job.errors import JobError, OutputError
from replicate_job.outputs.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedWriter

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_PROBE = bytes(4096)


def check_folder(folder: Path) -> None:
    """Raise JobError if no file can be written into the folder, and OutputError if its disk is full. Blocks.

    A file is written and removed, because permissions do not show read-only disks, quotas, or root's rights. A missing
    folder is not made: its nearest existing parent is tested.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder)  # raises for a name that is too long, or a parent that cannot be entered
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
    except ValueError:  # the path has a null byte
        raise JobError(f"outputs cannot be kept in {str(folder)!r}: that is not the name of a folder") from None


def _write_in(folder: Path) -> None:
    probe = folder / f".replicate-job.{os.urandom(6).hex()}.part"
    try:
        with probe.open("xb", buffering=0) as file:
            with suppress(PermissionError):  # Windows cannot remove an open file
                probe.unlink()  # before the write, so that a killed process leaves no file behind
            file.write(_PROBE)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


class Folder:
    """A ``Place`` on the disk. ``path_of`` maps a file's name to its path. Without it, the path is in ``folder``."""

    def __init__(self, folder: Path, path_of: Callable[[str], Path] | None = None) -> None:
        self.folder, self._path_of = folder, path_of

    def __str__(self) -> str:
        return str(self.folder)

    def address(self, name: str) -> Path:
        return self._path_of(name) if self._path_of else self.folder / name

    async def make(self) -> None:
        await in_thread(_make, self.folder)

    def part(self, stem: str) -> Part:
        return _FilePart(self, stem)

    async def write(self, name: str, content: bytes) -> None:
        await in_thread(self._write, self.address(name), content)

    def _write(self, target: Path, content: bytes) -> None:
        _make(target.parent)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(target)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


class _FilePart(Part):
    """A hidden temporary file in the folder. Blocking work runs in a thread."""

    def __init__(self, place: Folder, stem: str) -> None:
        super().__init__(stem)
        self._place = place
        # `tempfile` makes files that only their owner can read, but an output file gets the usual permissions.
        self._path = place.folder / f".{stem}.{os.urandom(6).hex()}.part"
        self._file: BufferedWriter

    async def open(self) -> None:
        await in_thread(self._open)

    def _open(self) -> None:
        self._file = self._path.open("xb")

    async def write(self, data: bytes | bytearray) -> None:
        await in_thread(self._write, data)

    def _write(self, data: bytes | bytearray) -> None:
        self._file.write(data)
        self.count(data)

    async def restart(self) -> None:
        await in_thread(self._restart)

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.forget()

    async def commit(self) -> Path:
        return await in_thread(self._commit)

    def _commit(self) -> Path:
        """Sync the content to the disk, and then give the file its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        target = self._place.address(self.name)
        _make(target.parent)
        self._path.replace(target)
        return target

    async def discard(self) -> None:
        # OSError: closing flushes the file, which fails on a full disk. AttributeError: the file was never opened.
        with suppress(OSError, AttributeError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
