"""Files that clients uploaded: kept across restarts of the server, until they expire."""

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

_TICK = 1e-6  # seconds between two uploads
_UNIX_TIME = re.compile(r"\d{1,15}", re.ASCII)


class UploadStore:
    """``shelf`` keeps them for ``keep_for`` seconds; ``secret`` signs the addresses that download them."""

    def __init__(
        self, shelf: Path, secret: bytes, drafts: Drafts, *, keep_for: float, clock: Callable[[], float]
    ) -> None:
        self._shelf, self._drafts, self._keep_for, self._clock = shelf, drafts, keep_for, clock
        self._secret = secret
        found = [file for place in shelf.glob("*") if is_key(place.name) and (file := read_file(place))]
        # An id is the name of its folder, whatever its facts say.
        self._known = {file.path.parent.name: file for file in found}
        self._latest = max((file.created_at for file in found), default=0.0)
        drafts.remove(self._take_expired())

    async def add(self, content: bytes, name: str, content_type: str, metadata: dict[str, Any]) -> StoredFile:
        """Raises TooLargeError."""
        await self.sweep()
        id = new_id()  # noqa: A001 - the API's own name
        # Microseconds are the places of the list: no two are at the same, whatever the clock says.
        now = self._latest = round(max(self._clock(), self._latest + _TICK), 6)
        facts = {"name": safe_name(name), "content_type": content_type, "metadata": metadata}
        times = {"created_at": now, "expires_at": now + self._keep_for}
        self._known[id] = await asyncio.to_thread(self._keep, content, id, **facts, **times)
        return self._known[id]

    def _keep(self, content: bytes, id: str, **facts: Any) -> StoredFile:  # noqa: A002 - the API's own name
        draft = self._drafts.new(LARGEST)
        try:
            draft.write(content)
            return draft.keep(self._shelf, id, id=id, **facts)
        finally:
            draft.discard()

    def get(self, id: str) -> StoredFile | None:  # noqa: A002 - the API's own name
        file = self._known.get(id)
        return file if file and not self._is_expired(file) else None

    async def page(self, cursor: str | None = None) -> ListPage[StoredFile]:
        """One page of the list. Raises RefusedError for a cursor that is not from here."""
        await self.sweep()
        return read_page(sorted(self._known.values(), key=_place), _place, cursor)

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

    def _is_expired(self, file: StoredFile) -> bool:
        return file.expires_at is not None and self._clock() >= file.expires_at

    def download(self, id: str, owner: str, expiry: str, signature: str) -> StoredFile | None:  # noqa: A002 - the API's own name
        """The file, if the signature is right for these words and the Unix time ``expiry`` is to come.

        The API knows downloads as bytes of no type.
        """
        # A plus in a query means a blank; most who write a signature into an address forget that.
        given = signature.replace(" ", "+").encode(errors="replace")
        right = hmac.compare_digest(self._sign(owner, id, expiry).encode(), given)
        lives = _UNIX_TIME.fullmatch(expiry) is not None and int(expiry) > self._clock()
        file = self.get(id) if right and lives else None
        return file and msgspec.structs.replace(file, content_type=UNKNOWN)

    def _sign(self, *words: str) -> str:
        signed = " ".join(words).encode(errors="replace")
        return base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()


def _place(file: StoredFile) -> int:
    return round(file.created_at * 1e6)
