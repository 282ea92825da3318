"""Files that go in (uploads, addresses) and come out (a model's outputs), on disk under names of our own."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replicate_job.address import is_elsewhere
from replicate_job.aio import unless
from replicate_job.errors import LocalError
from replicate_job.local.files.file_store import Drafts, StoredFile, is_key, is_name, read_file
from replicate_job.local.files.inbound import Inbound, parse_address
from replicate_job.local.files.outputs import Outputs
from replicate_job.local.files.places import find_files, is_data, is_web, replaced
from replicate_job.local.files.uploads import UploadStore
from replicate_job.local.origin import ORIGIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pyreqwest.http import Url

    from replicate_job.wire.openapi import Position

_UPLOAD = re.compile(r"/(?:v1/files/([^/]+)(?:/download)?|files/([^/]+)/[^/]+)")
_DATA = "data:"
"""As Cog's server writes it: in capitals, it takes a data URL for a path."""
_AT_ONCE = 4  # files that one prediction fetches
_KEPT_FOR = 24 * 3600.0  # seconds for an upload, as at Replicate


class Files:
    """All files of a server, below ``folder``: uploads and outputs are there again after a restart.

    ``own_origin`` is where model servers on this machine reach this server, without a slash at its end. ``secret``
    signs the addresses that download uploads. ``allow_private`` lets http inputs lead into private networks. One
    server at a time may have a folder.
    """

    def __init__(self, folder: Path, own_origin: str, *, secret: bytes, allow_private: bool = False) -> None:
        self._own_origin = own_origin
        self._origins = {*_same_origins(own_origin), ORIGIN}
        self._drafts = Drafts(folder / "unfinished")
        self._inputs = folder / "inputs"
        self._drafts.remove([self._inputs])
        self.uploads = UploadStore(folder / "files", secret, self._drafts, keep_for=_KEPT_FOR, clock=time.time)
        self.outputs = Outputs(folder / "outputs", self._drafts)
        self._inbound = Inbound(self._drafts, (lambda _: True) if allow_private else is_elsewhere)

    @asynccontextmanager
    async def resolved(
        self,
        id: str,  # noqa: A002 - the API's own name
        given: dict[str, Any],
        document: dict[str, Any],
        canceled: asyncio.Event,
    ) -> AsyncIterator[dict[str, Any]]:
        """Around a prediction: its input as its model gets it, with addresses on this server and data URLs only.

        What other addresses name is fetched first, and removed at the end. Raises LocalError, which names the input
        field, for what cannot be had or may not be asked for; and when ``canceled`` is set before all is there.
        """
        places = find_files(given, document, "Input")
        wanted: dict[str, Position] = {}  # each once, where it comes first
        for position, text in places.items():
            if not text.startswith(_DATA):
                wanted.setdefault(text, position)
        try:
            if wanted:
                found = await unless(canceled, self._find_all(id, wanted))
                if found is None:
                    raise LocalError("the prediction was canceled")
                given = replaced(given, {position: found.get(text, text) for position, text in places.items()})
            yield given
        finally:
            self.outputs.forget(id)
            if wanted:
                await asyncio.to_thread(self._drafts.remove, [self._inputs / id])

    def get_input(self, prediction: str, key: str) -> StoredFile | None:
        """A file that was fetched for a prediction which still runs."""
        known = is_key(prediction) and is_name(key)
        return read_file(self._inputs / prediction / key.partition("-")[0]) if known else None

    async def _find_all(self, id: str, wanted: dict[str, Position]) -> dict[str, str]:  # noqa: A002 - the API's own name
        """What the model gets in place of each: an address on this server, or a data URL."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def find(number: int, text: str, position: Position) -> str:
            try:
                async with turns:
                    return await self._find(id, number, text)
            except LocalError as error:
                raise LocalError(f"input.{'.'.join(map(str, position))}: {error}") from None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    text: group.create_task(find(number, text, position))
                    for number, (text, position) in enumerate(wanted.items())
                }
        except* LocalError as errors:
            raise errors.exceptions[0] from None
        return {text: task.result() for text, task in tasks.items()}

    async def _find(self, id: str, number: int, text: str) -> str:  # noqa: A002 - the API's own name
        if is_data(text):
            return _DATA + text[len(_DATA) :]
        if not is_web(text):
            raise LocalError("it is no http, https or data URL")
        url = parse_address(text)
        if own := self._own(url):
            return f"{self._own_origin}{own}"
        file = await self._inbound.fetch(url, self._inputs / id, str(number))
        return f"{self._own_origin}/inputs/{id}/{number}-{file.name}"

    def _own(self, url: Url) -> str:
        """The path of the content on this server, whatever the name that the server was called by; else nothing.

        Ids are not to be guessed: who names one that is here means this server. Raises LocalError for what this
        server does not have though it is called by its name.
        """
        if (found := _UPLOAD.fullmatch(url.path)) and (file := self.uploads.get(found[1] or found[2])):
            return f"/files/{file.id}/{file.name}"
        if self.outputs.find(url.path):
            return url.path
        if url.origin_ascii in self._origins:
            raise LocalError(f"there is no file at {url.path} on this server (any more)")
        return ""


def _same_origins(origin: str) -> set[str]:
    """A loopback origin under each of its names."""
    port = urlsplit(origin).port
    return {f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")} | {origin}
