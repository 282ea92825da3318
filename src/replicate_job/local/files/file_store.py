"""Files as they lie on disk: ``<shelf>/<key>/`` with the content and its facts, there as a whole or not at all.

Keys and names that come from a request are matched against ``is_key`` and ``is_name`` first: what passes is one plain
segment of a path, which leads nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from replicate_job.aio import in_thread
from replicate_job.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_KEY = re.compile(r"[a-z0-9]{1,64}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ENDING_WELL = re.compile(r"\A(.*[A-Za-z0-9_])?.*", re.DOTALL)
_LONGEST_STEM, _LONGEST_SUFFIX = 100, 16
_CONTENT, _FACTS = "content", "facts.json"
_HEAD = 32  # bytes kept to tell the type by
_BLOCK = 2**20

_Time = Annotated[float, msgspec.Meta(ge=0, lt=253402300800)]  # up to the year 9999


class FileTooLargeError(LocalError):
    """A file has more bytes than it may have."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is handed out: ``name`` is the last part of its address, safe everywhere.

    ``id`` is an upload's own, or that of the prediction it belongs to. Times are Unix times; None: it does not expire.
    """

    id: str
    name: Annotated[str, msgspec.Meta(pattern=rf"^{_NAME.pattern}\Z")]
    path: Path
    content_type: str
    size: int
    sha256: str
    created_at: _Time
    expires_at: _Time | None = None
    metadata: dict[str, Any] = {}


def is_key(text: str) -> bool:
    """Whether it has the form of the ids of uploads and predictions."""
    return _KEY.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether it has the form of the names that ``safe_name`` gives."""
    return _NAME.fullmatch(text) is not None


def safe_name(text: str, default: str = "file") -> str:
    """A name that passes ``is_name`` and keeps what it can of the given one, its extension above all."""
    stem, dot, suffix = _ENDING_WELL.sub(r"\1", text.replace("\\", "/").rpartition("/")[2]).rpartition(".")
    if not dot or not stem:
        stem, suffix = stem or suffix, ""
    suffix = _UNSAFE.sub("", suffix).strip("-")[:_LONGEST_SUFFIX].rstrip("-")
    # A name may begin with what it may not end with: an underscore.
    plain = _UNSAFE.sub("-", stem).strip("-.")[:_LONGEST_STEM].rstrip("-.") or default
    return f"{plain}.{suffix}" if suffix else plain


def read_file(folder: Path) -> StoredFile | None:
    """The file of this folder of a shelf; None where there is none, or what is there is not ours."""
    with suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
        facts = msgspec.json.decode((folder / _FACTS).read_bytes(), type=dict[str, Any])
        return msgspec.convert({**facts, "path": folder / _CONTENT}, StoredFile)
    return None


class Draft:
    """A file while it is written, of at most ``limit`` bytes. Every method blocks; OSError where the disk says no."""

    def __init__(self, folder: Path, limit: int | None) -> None:
        self._folder, self._limit = folder, limit
        self._folder.mkdir()
        self._file = (folder / _CONTENT).open("xb")
        self._digest = hashlib.sha256()
        self.size, self.head = 0, b""

    def write(self, block: bytes | bytearray) -> None:
        """Raises TooLargeError."""
        self.size += len(block)
        if self._limit is not None and self.size > self._limit:
            raise FileTooLargeError(f"it is larger than {self._limit:,} bytes")
        self._file.write(block)
        self._digest.update(block)
        self.head += bytes(block[: max(_HEAD - len(self.head), 0)])

    def keep(self, shelf: Path, key: str, **facts: Any) -> StoredFile:
        """Whole, in its place. ``facts`` are those of ``StoredFile`` that the draft does not know."""
        self._file.close()
        known = {"size": self.size, "sha256": self._digest.hexdigest(), **facts}
        (self._folder / _FACTS).write_bytes(msgspec.json.encode(known))
        shelf.mkdir(parents=True, exist_ok=True)
        self._folder.rename(shelf / key)
        return StoredFile(path=shelf / key / _CONTENT, **known)

    def discard(self) -> None:
        """Leave nothing behind. After ``keep`` there is nothing to leave."""
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Drafts:
    """What is not whole yet, or not wholly removed: in a folder that is emptied at each start.

    It lies on the same disk as the shelves, of which each change is one rename.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def new(self, limit: int | None = None) -> Draft:
        return Draft(self._place(), limit)

    @asynccontextmanager
    async def filled(self, chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[Draft]:
        """A draft of all the chunks, gone at the end unless it was kept. Raises TooLargeError."""
        draft = self.new(limit)  # in a thread, a cancellation would leave it there
        try:
            block = bytearray()
            async for chunk in chunks:
                block += chunk
                if len(block) >= _BLOCK:
                    full, block = block, bytearray()
                    await in_thread(draft.write, full)
            await in_thread(draft.write, block)
            yield draft
        finally:
            await in_thread(draft.discard)

    def remove(self, folders: Iterable[Path]) -> None:
        """Each is gone at once for all who look, and from the disk by and by. Blocks."""
        for folder in folders:
            if away := self.take(folder):
                shutil.rmtree(away, ignore_errors=True)

    def take(self, folder: Path) -> Path | None:
        """Where it is now, gone for all who look: to be removed from there, which the next start does at the latest."""
        away = self._place()
        with suppress(OSError):
            folder.rename(away)
            return away
        return None

    def _place(self) -> Path:
        return self._folder / os.urandom(12).hex()
