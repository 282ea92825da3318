"""Reads files that the account's list of predictions shows, to compare them with the files that were sent."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from replicate_job.errors import ReplicateJobError

if TYPE_CHECKING:
    from replicate_job.outputs.download import Fetch


class ListedFiles:
    """Each file is read one time. The requests do not have the token."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._known: dict[str, str] = {}

    async def content_print(self, url: str, longest: int) -> str | None:
        """The SHA-256 (hex) of the file's content.

        Empty if the file is longer than ``longest`` bytes. None if the download failed: the next call tries it again.
        """
        if url not in self._known:
            digest, size = sha256(), 0
            try:
                async with self._fetch(url, {}) as response:
                    if response.status != 200:  # noqa: PLR2004 - OK
                        return None
                    async for chunk in response.chunks():
                        digest.update(chunk)
                        size += len(chunk)
                        if size > longest:
                            return ""
            except ReplicateJobError:
                return None
            self._known[url] = digest.hexdigest()
        return self._known[url]
