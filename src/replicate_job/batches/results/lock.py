"""One writer for one results file."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from replicate_job.errors import JobError

if sys.platform != "win32":
    import fcntl


class Lock:
    """Held by one process at a time; the system lets go of it when its holder dies.

    It is a hidden file beside ``path``, since ``path`` itself is replaced under its writer. It holds the process id of
    its holder, and is removed at the end. There is no lock on Windows, nor on file systems that know none. ``name`` is
    what a message calls ``path``.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name, self._path = name, path.with_name(f".{path.name}.lock")
        self._handle: int | None = None

    def acquire(self) -> None:
        """Raises JobError where another process holds it, OSError where it cannot be made."""
        while self._handle is None and sys.platform != "win32":
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._try(handle)
            finally:
                if self._handle is None:
                    os.close(handle)

    def _try(self, handle: int) -> None:
        """Keep ``handle`` if the lock on it is ours now, and the file still the one that others will open."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal(handle) from None
        except OSError:
            pass  # a network file system without locks: the file is written all the same
        with suppress(FileNotFoundError):  # its last holder has just removed it
            if os.path.samestat(os.fstat(handle), self._path.stat()):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                self._handle = handle

    def _refusal(self, handle: int) -> JobError:
        holder = os.pread(handle, 20, 0)
        process = f"process {int(holder)}" if holder.isdigit() else "another process"
        return JobError(f"{self._name} is being written by {process}: wait for its end, or name another file")

    def release(self) -> None:
        if self._handle is None:
            return
        with suppress(OSError):  # removed while it is still held, or the next holder's would be removed
            self._path.unlink()
        os.close(self._handle)
        self._handle = None
