"""A file while it is being written: hashed on the way, and under its real name only when whole."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from replicate_job.outputs.names import extension
from replicate_job.wire.signature import LONGEST


class Part(ABC):
    """What a place has of a file that is not whole. ``url`` and ``media_type`` are for its extension.

    Every method raises OSError when the disk or the store fails.
    """

    def __init__(self, stem: str) -> None:
        self.stem, self.url = stem, ""
        self.media_type: str | None = None
        self.forget()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def name(self) -> str:
        """The file's name: its extension is what the content, the media type or the URL gives."""
        return self.stem + extension(self.url, self.media_type, self.head)

    def count(self, data: bytes | bytearray) -> None:
        """Take note of bytes that are written."""
        self._digest.update(data)
        self.size += len(data)
        if len(self.head) < LONGEST:
            self.head += bytes(data[: LONGEST - len(self.head)])

    def forget(self) -> None:
        """Take no bytes for written."""
        self._digest, self.size, self.head = hashlib.sha256(), 0, b""

    @abstractmethod
    async def open(self) -> None: ...
    @abstractmethod
    async def write(self, data: bytes | bytearray) -> None: ...
    @abstractmethod
    async def restart(self) -> None:
        """Drop what was written."""

    @abstractmethod
    async def commit(self) -> Path | str:
        """Give the file its name. Until then nothing is seen there, or what was there before."""

    @abstractmethod
    async def discard(self) -> None:
        """Leave nothing behind. After ``commit`` there is nothing to leave. Raises nothing."""


class Place(Protocol):
    """Where the files of one job go. ``str`` names it for a message."""

    async def make(self) -> None:
        """Make it, if it is missing. Raises OSError."""

    def part(self, stem: str) -> Part: ...
    def address(self, name: str) -> Path | str:
        """Where a file of this name is, or will be."""

    async def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all. Raises OSError."""
