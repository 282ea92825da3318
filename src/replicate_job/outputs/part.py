"""A file while it is being written: hidden, hashed on the way, and under its real name only when whole."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from replicate_job.outputs.names import extension
from replicate_job.wire.signature import LONGEST

if TYPE_CHECKING:
    from io import BufferedWriter
    from pathlib import Path


class Part:
    """A temporary file in its final folder. Every method blocks; raises OSError when the disk fails."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder, self.stem, self.size, self.head = folder, stem, 0, b""
        # Not tempfile, whose files only the user can read: these get the usual permissions.
        self.path = folder / f".{stem}.{os.urandom(6).hex()}.part"
        self._digest = hashlib.sha256()
        self._file: BufferedWriter

    def open(self) -> None:
        self._file = self.path.open("xb")

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes | bytearray) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
        if len(self.head) < LONGEST:
            self.head += bytes(data[: LONGEST - len(self.head)])

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._digest, self.size, self.head = hashlib.sha256(), 0, b""

    def commit(self, url: str, media_type: str | None) -> Path:
        """On disk, then under its name, whose extension the content, the media type or the URL gives."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        target = self.folder / (self.stem + extension(url, media_type, self.head))
        self.path.replace(target)
        return target

    def discard(self) -> None:
        """Remove the temporary file. After ``commit`` there is none."""
        with suppress(OSError, AttributeError):  # closing flushes, which fails again on a full disk; or never opened
            self._file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
