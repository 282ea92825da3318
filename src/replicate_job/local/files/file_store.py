"""Files on disk. Each file is a folder ``<parent>/<key>/`` with content and metadata. It is stored in one step.

Check keys and names from a request with ``is_key`` and ``is_name`` first: a valid key or name is a single segment of a
path, and cannot lead to another folder.
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
from replicate_job.decoding import convert, decode
from replicate_job.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_KEY = re.compile(r"[a-z0-9]{1,64}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_TO_LAST_PLAIN = re.compile(r"\A(.*[A-Za-z0-9_])?.*", re.DOTALL)
_LONGEST_STEM, _LONGEST_SUFFIX = 100, 16
_CONTENT, _FACTS = "content", "facts.json"
_HEAD = 32  # the number of first bytes from which the type is detected
_BLOCK = 2**20  # bytes that are written together

_Time = Annotated[float, msgspec.Meta(ge=0, lt=253402300800)]  # up to the year 9999


class FileTooLargeError(LocalError):
    """A file is larger than its limit."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file with its metadata. ``name`` is the last part of its address, and valid in every file system.

    ``id`` is the id of the upload, or of the prediction to which the file belongs. Times are Unix times; a file whose
    ``expires_at`` is None does not expire. ``md5`` is empty for a file of an earlier release.
    """

    id: str
    name: Annotated[str, msgspec.Meta(pattern=rf"^{_NAME.pattern}\Z")]
    path: Path
    content_type: str
    size: int
    sha256: str
    md5: str = ""
    created_at: _Time
    expires_at: _Time | None = None
    metadata: dict[str, Any] = {}


def is_key(text: str) -> bool:
    """Whether a text has the form of an id of uploads and predictions."""
    return _KEY.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether a text has the form of a name that ``safe_name`` returns."""
    return _NAME.fullmatch(text) is not None


def safe_name(text: str, default: str = "file") -> str:
    """A name that passes ``is_name``, as similar to ``text`` as possible, with the same extension."""
    stem, dot, suffix = _TO_LAST_PLAIN.sub(r"\1", text.replace("\\", "/").rpartition("/")[2]).rpartition(".")
    if not dot or not stem:
        stem, suffix = stem or suffix, ""
    suffix = _UNSAFE.sub("", suffix).strip("-")[:_LONGEST_SUFFIX].rstrip("-")
    # An underscore may be the first character of a name, but not the last.
    plain = _UNSAFE.sub("-", stem).strip("-.")[:_LONGEST_STEM].rstrip("-.") or default
    return f"{plain}.{suffix}" if suffix else plain


def read_file(folder: Path) -> StoredFile | None:
    """The file in this folder; None if there is none, or if its metadata cannot be read."""
    with suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
        facts = decode((folder / _FACTS).read_bytes(), dict[str, Any])
        return convert({**facts, "path": folder / _CONTENT}, StoredFile)
    return None


class Draft:
    """A file of at most ``limit`` bytes that is being written. Every method blocks, and may raise OSError."""

    def __init__(self, folder: Path, limit: int | None) -> None:
        self._folder, self._limit = folder, limit
        self._folder.mkdir()
        self._file = (folder / _CONTENT).open("xb")
        self._digest, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.size, self.head = 0, b""

    def write(self, block: bytes | bytearray) -> None:
        """Append a block. Raises FileTooLargeError."""
        self.size += len(block)
        if self._limit is not None and self.size > self._limit:
            raise FileTooLargeError(f"it is larger than {self._limit:,} bytes")
        self._file.write(block)
        self._digest.update(block)
        self._md5.update(block)
        self.head += bytes(block[: max(_HEAD - len(self.head), 0)])

    def store(self, parent: Path, key: str, **facts: Any) -> StoredFile:
        """Move the complete file to ``parent/key``. ``facts`` are its fields besides path, size and hashes."""
        self._file.close()
        facts = {"size": self.size, "sha256": self._digest.hexdigest(), "md5": self._md5.hexdigest(), **facts}
        (self._folder / _FACTS).write_bytes(msgspec.json.encode(facts))
        parent.mkdir(parents=True, exist_ok=True)
        self._folder.rename(parent / key)
        return StoredFile(path=parent / key / _CONTENT, **facts)

    def discard(self) -> None:
        """Remove the draft. Has no effect after ``store``."""
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Drafts:
    """A folder for files that are not complete yet, or not completely removed. It is emptied at each start.

    It must be on the same disk as the stored files, so that one rename stores or removes a file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def new(self, limit: int | None = None) -> Draft:
        return Draft(self._new_path(), limit)

    @asynccontextmanager
    async def filled(self, chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[Draft]:
        """A context with a draft that contains all chunks. A draft that was not stored is removed at the end.

        Raises FileTooLargeError.
        """
        draft = self.new(limit)  # not in a thread: after a cancellation there, the draft would not be removed
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
        """Remove folders of files. Each is renamed before its content is deleted. This method blocks."""
        for folder in folders:
            if renamed := self.take(folder):
                shutil.rmtree(renamed, ignore_errors=True)

    def take(self, folder: Path) -> Path | None:
        """Rename a folder, so that its files can no longer be found. Returns the new path; None if that fails.

        The caller must remove the folder at the new path. If this process dies before that, the next start removes it.
        """
        renamed = self._new_path()
        with suppress(OSError):
            folder.rename(renamed)
            return renamed
        return None

    def _new_path(self) -> Path:
        return self._folder / os.urandom(12).hex()
