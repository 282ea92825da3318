"""The lock that lets one process at a time write a results file."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from replicate_job.errors import JobError

if sys.platform != "win32":
    import fcntl


class FileLock:
    """A lock on ``path``. One process at a time holds it; the operating system releases it when that process dies.

    The lock is on a hidden file beside ``path``, since ``path`` itself is replaced while it is locked. The hidden file
    contains the process id of the lock's holder, and is removed on release. Nothing is locked on Windows or on a file
    system without ``flock``. ``name`` is the name of ``path`` in messages.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name, self._path = name, path.with_name(f".{path.name}.lock")
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises JobError if another process holds it, OSError if the hidden file cannot be made."""
        while self._handle is None and sys.platform != "win32":
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._try(handle)
            finally:
                if self._handle is None:
                    os.close(handle)

    def _try(self, handle: int) -> None:
        """Lock the open file, and keep the lock if the hidden file's path still leads to the open file."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal(handle) from None
        except OSError:
            pass  # a network file system without locks: write the results without a lock
        with suppress(FileNotFoundError):  # the last holder has just removed the file: ``acquire`` tries again
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
        with suppress(OSError):  # removed before the release: after that, the file may belong to the next holder
            self._path.unlink()
        os.close(self._handle)
        self._handle = None
