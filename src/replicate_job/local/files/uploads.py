"""Files that clients have uploaded. They survive restarts of the server, until they expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.local.files.file_store import StoredFile, is_key, read_file, safe_name
from replicate_job.local.prediction import new_id
from replicate_job.serving.page import ListPage, read_page
from replicate_job.serving.upload import LARGEST
from replicate_job.wire.media import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replicate_job.local.files.file_store import Drafts

_TICK = 1e-6  # the least seconds between the times of two uploads
_UNIX_TIME = re.compile(r"\d{1,15}", re.ASCII)


class UploadStore:
    """Uploads below ``folder``, each for ``lifetime`` seconds. ``secret`` signs the addresses that download them."""

    def __init__(
        self, folder: Path, secret: bytes, drafts: Drafts, *, lifetime: float, clock: Callable[[], float]
    ) -> None:
        self._folder, self._drafts, self._lifetime, self._clock = folder, drafts, lifetime, clock
        self._secret = secret
        stored = [file for child in folder.glob("*") if is_key(child.name) and (file := read_file(child))]
        # The folder's name is used as the id instead of the stored id, because lists and paths depend on the folder's
        # name.
        self._files = {file.path.parent.name: file for file in stored}
        self._latest = max((file.created_at for file in stored), default=0.0)
        drafts.remove(self._take_expired())

    async def add(self, content: bytes, name: str, content_type: str, metadata: dict[str, Any]) -> StoredFile:
        """Store an uploaded file. Raises FileTooLargeError."""
        await self.sweep()
        id = new_id()  # noqa: A001 - the API's own name
        # Cursors of the list are times in microseconds, so no two uploads may have the same time.
        now = self._latest = round(max(self._clock(), self._latest + _TICK), 6)
        facts = {"name": safe_name(name), "content_type": content_type, "metadata": metadata}
        times = {"created_at": now, "expires_at": now + self._lifetime}
        self._files[id] = await asyncio.to_thread(self._write, content, id, **facts, **times)
        return self._files[id]

    def _write(self, content: bytes, id: str, **facts: Any) -> StoredFile:  # noqa: A002 - the API's own name
        draft = self._drafts.new(LARGEST)
        try:
            draft.write(content)
            return draft.store(self._folder, id, id=id, **facts)
        finally:
            draft.discard()

    def get(self, id: str) -> StoredFile | None:  # noqa: A002 - the API's own name
        file = self._files.get(id)
        return file if file and not self._is_expired(file) else None

    async def page(self, cursor: str | None = None) -> ListPage[StoredFile]:
        """One page of the list. Raises RefusedError for a cursor that this list did not return."""
        await self.sweep()
        return read_page(sorted(self._files.values(), key=_microseconds), _microseconds, cursor)

    async def remove(self, id: str) -> bool:  # noqa: A002 - the API's own name
        """Remove an upload. Returns whether it existed."""
        existed = self.get(id) is not None
        if file := self._files.pop(id, None):
            await asyncio.to_thread(self._drafts.remove, [file.path.parent])
        return existed

    async def sweep(self) -> None:
        """Remove expired uploads from the disk."""
        if expired := self._take_expired():
            await asyncio.to_thread(self._drafts.remove, expired)

    def _take_expired(self) -> list[Path]:
        expired = [key for key, file in self._files.items() if self._is_expired(file)]
        return [self._files.pop(key).path.parent for key in expired]

    def _is_expired(self, file: StoredFile) -> bool:
        return file.expires_at is not None and self._clock() >= file.expires_at

    def download(self, id: str, owner: str, expiry: str, signature: str) -> StoredFile | None:  # noqa: A002 - the API's own name
        """The file to download, if the signature matches and the Unix time ``expiry`` is in the future; else None.

        Its type is ``application/octet-stream``, because the API documents no media type for downloads.
        """
        # In a query, a plus means a space. Clients that do not escape the plus in a signature are accepted too.
        sent_signature = signature.replace(" ", "+").encode(errors="replace")
        is_signed = hmac.compare_digest(self._sign(owner, id, expiry).encode(), sent_signature)
        is_valid = _UNIX_TIME.fullmatch(expiry) is not None and int(expiry) > self._clock()
        file = self.get(id) if is_signed and is_valid else None
        return file and msgspec.structs.replace(file, content_type=UNKNOWN)

    def _sign(self, *words: str) -> str:
        signed = " ".join(words).encode(errors="replace")
        return base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()


def _microseconds(file: StoredFile) -> int:
    return round(file.created_at * 1e6)
