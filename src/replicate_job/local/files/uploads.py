"""Files that clients uploaded: kept across restarts of the server, until they expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import msgspec

from replicate_job.local.files.shelf import File, is_key, read_file, safe_name
from replicate_job.local.prediction import new_id
from replicate_job.serving.upload import LARGEST
from replicate_job.wire.media import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from replicate_job.local.files.shelf import Drafts

PAGE = 100
"""Files on a page of the list, as the API has it."""
_BLOCK = 2**20
_TICK = 1e-6  # seconds between two uploads, for none to be at the same place of the list
_CURSOR = re.compile(r"([on])(\d{1,12}\.\d{1,17})", re.ASCII)
_UNIX_TIME = re.compile(r"\d{1,15}", re.ASCII)
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:\s*;[\x20-\x7e]*)?", re.ASCII)


class Readable(Protocol):
    """Such as Starlette's UploadFile."""

    async def read(self, size: int = -1, /) -> bytes: ...


class FilePage(msgspec.Struct, frozen=True):
    """Newest first. ``next`` (older ones) and ``previous`` are cursors, None where there is nothing more."""

    files: list[File]
    next: str | None
    previous: str | None


class Uploads:
    """``shelf`` keeps them for ``keep_for`` seconds; ``secret`` signs the addresses that download them."""

    def __init__(
        self, shelf: Path, secret: bytes, drafts: Drafts, *, keep_for: float, clock: Callable[[], float]
    ) -> None:
        self._shelf, self._drafts, self._keep_for, self._clock = shelf, drafts, keep_for, clock
        self._secret = secret
        found = [file for place in shelf.glob("*") if is_key(place.name) and (file := read_file(place))]
        # Oldest first. An id is the name of its folder, whatever its facts say.
        self._known = {file.path.parent.name: file for file in sorted(found, key=_created)}
        drafts.remove(self._take_expired())

    async def add(self, content: Readable | bytes, name: str, content_type: str, metadata: dict[str, Any]) -> File:
        """Keep it, without holding more than a block of it in memory. Raises TooLargeError."""
        await self.sweep()
        async with self._drafts.filled(_blocks(content), LARGEST) as draft:
            id = new_id()  # noqa: A001 - the API's own name
            last = next(reversed(self._known.values()), None)
            now = max(self._clock(), last.created_at + _TICK if last else 0.0)
            file = await asyncio.to_thread(
                draft.keep,
                self._shelf,
                id,
                id=id,
                name=safe_name(name),
                content_type=content_type if _CONTENT_TYPE.fullmatch(content_type) else UNKNOWN,
                created_at=now,
                expires_at=now + self._keep_for,
                metadata=metadata,
            )
        self._known[id] = file
        return file

    def get(self, id: str) -> File | None:  # noqa: A002 - the API's own name
        file = self._known.get(id)
        return file if file and not self._is_expired(file) else None

    async def page(self, cursor: str | None = None) -> FilePage:
        """One page of the list. Raises ValueError for a cursor that is not from here."""
        await self.sweep()
        files = list(self._known.values())
        start, end = max(len(files) - PAGE, 0), len(files)
        if cursor is not None:
            older, at = _read_cursor(cursor)
            if older:
                end = bisect_left(files, at, key=_created)
                start = max(end - PAGE, 0)
            else:
                start = bisect_right(files, at, key=_created)
                end = min(start + PAGE, len(files))
        shown = files[start:end]
        return FilePage(
            shown[::-1],
            next=_cursor("o", shown[0]) if shown and start > 0 else None,
            previous=_cursor("n", shown[-1]) if shown and end < len(files) else None,
        )

    async def remove(self, id: str) -> bool:  # noqa: A002 - the API's own name
        """Whether there was such a file; now there is none."""
        there = self.get(id) is not None
        if file := self._known.pop(id, None):
            await asyncio.to_thread(self._drafts.remove, [file.path.parent])
        return there

    async def sweep(self) -> None:
        """Remove from the disk what has expired."""
        if expired := self._take_expired():
            await asyncio.to_thread(self._drafts.remove, expired)

    def _take_expired(self) -> list[Path]:
        expired = [key for key, file in self._known.items() if self._is_expired(file)]
        return [self._known.pop(key).path.parent for key in expired]

    def _is_expired(self, file: File) -> bool:
        return file.expires_at is not None and self._clock() >= file.expires_at

    def download(self, id: str, owner: str, expiry: str, signature: str) -> File | None:  # noqa: A002 - the API's own name
        """The file, if the signature is right for these words and the Unix time ``expiry`` is to come.

        The API knows downloads as bytes of no type.
        """
        # A plus in a query means a blank; most who write a signature into an address forget that.
        given = signature.replace(" ", "+").encode(errors="replace")
        right = hmac.compare_digest(self._sign(owner, id, expiry).encode(), given)
        lives = _UNIX_TIME.fullmatch(expiry) is not None and int(expiry) > self._clock()
        file = self.get(id) if right and lives else None
        return file and msgspec.structs.replace(file, content_type=UNKNOWN)

    def download_query(self, file: File, owner: str) -> str:
        """The query of an address that downloads the file for as long as it is there."""
        expiry = str(int(file.expires_at or time.time()))
        return urlencode({"expiry": expiry, "owner": owner, "signature": self._sign(owner, file.id, expiry)})

    def _sign(self, *words: str) -> str:
        signed = " ".join(words).encode(errors="replace")
        return base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()


async def _blocks(content: Readable | bytes) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    while block := await content.read(_BLOCK):
        yield block


def _created(file: File) -> float:
    return file.created_at


def _cursor(direction: str, file: File) -> str:
    return base64.urlsafe_b64encode(f"{direction}{file.created_at!r}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[bool, float]:
    found = _CURSOR.fullmatch(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode())
    if found is None:
        raise ValueError(f"{cursor!r} is not a cursor of this list")
    return found[1] == "o", float(found[2])
