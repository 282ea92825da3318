"""A file during its download. Its bytes are hashed, and it gets its final name only when it is complete."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from replicate_job.outputs.names import extension
from replicate_job.wire.signature import LONGEST


class Part(ABC):
    """An incomplete file in a place. ``url`` and ``media_type`` help to choose its extension.

    Every method raises OSError if the disk or the store fails.
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
        """The file's name: the stem, and an extension that content, media type or URL decide."""
        return self.stem + extension(self.url, self.media_type, self.head)

    def count(self, data: bytes | bytearray) -> None:
        """Add written bytes to the size, the hash and the first bytes (``head``)."""
        self._digest.update(data)
        self.size += len(data)
        if len(self.head) < LONGEST:
            self.head += bytes(data[: LONGEST - len(self.head)])

    def forget(self) -> None:
        """Reset the size, the hash and the first bytes."""
        self._digest, self.size, self.head = hashlib.sha256(), 0, b""

    @abstractmethod
    async def open(self) -> None: ...
    @abstractmethod
    async def write(self, data: bytes | bytearray) -> None: ...
    @abstractmethod
    async def restart(self) -> None:
        """Delete the bytes written so far."""

    @abstractmethod
    async def commit(self) -> Path | str:
        """Give the file its name. Until then no file or an older file has this name. Returns the path or URL."""

    @abstractmethod
    async def discard(self) -> None:
        """Delete the temporary file, if there is one. After ``commit`` there is none. Raises nothing."""


class Place(Protocol):
    """The place for the files of one job. ``str`` names it in a message."""

    async def make(self) -> None:
        """Make the folder if it is missing. Raises OSError."""

    def part(self, stem: str) -> Part: ...
    def address(self, name: str) -> Path | str:
        """The path or URL of the file with this name."""

    async def write(self, name: str, content: bytes) -> None:
        """Write a small file, completely or not at all. Raises OSError."""
