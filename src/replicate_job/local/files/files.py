"""All files of a server: uploads, input files while their predictions run, and output files."""

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

_UPLOAD_PATH = re.compile(r"/(?:v1/files/([^/]+)(?:/download)?|files/([^/]+)/[^/]+)")
_DATA = "data:"
"""The prefix of data URLs. It must be in lower case: Cog's server reads a data URL in capitals as a path."""
_CONCURRENT = 4  # downloads for one prediction
_UPLOAD_LIFETIME = 24 * 3600.0  # seconds, as at Replicate


class Files:
    """All files of a server, below ``folder``. Uploads and outputs survive a restart.

    ``own_origin`` is where model servers on this machine reach this server, without a slash at its end. ``secret``
    signs the addresses that download uploads. With ``allow_private``, inputs are also fetched from private networks.
    One server at a time may use a folder.
    """

    def __init__(self, folder: Path, own_origin: str, *, secret: bytes, allow_private: bool = False) -> None:
        self._own_origin = own_origin
        self._origins = {*_same_origins(own_origin), ORIGIN}
        self._drafts = Drafts(folder / "unfinished")
        self._inputs = folder / "inputs"
        self._drafts.remove([self._inputs])
        self.uploads = UploadStore(folder / "files", secret, self._drafts, lifetime=_UPLOAD_LIFETIME, clock=time.time)
        self.outputs = Outputs(folder / "outputs", self._drafts)
        self._inbound = Inbound(self._drafts, (lambda _: True) if allow_private else is_elsewhere)

    @asynccontextmanager
    async def resolved(
        self,
        id: str,  # noqa: A002 - the API's own name
        inputs: dict[str, Any],
        document: dict[str, Any],
        canceled: asyncio.Event,
    ) -> AsyncIterator[dict[str, Any]]:
        """A context with a prediction's inputs, in which every file is an address on this server or a data URL.

        Files at other addresses are downloaded first, and removed at the end. Raises LocalError, which names the input,
        for a file that cannot be downloaded or is not allowed, and if ``canceled`` is set during the downloads.
        """
        addresses = find_files(inputs, document, "Input")
        to_resolve: dict[str, Position] = {}  # each address once, with its first position, for error messages
        for position, address in addresses.items():
            if not address.startswith(_DATA):
                to_resolve.setdefault(address, position)
        try:
            if to_resolve:
                own = await unless(canceled, self._resolve_all(id, to_resolve))
                if own is None:
                    raise LocalError("the prediction was canceled")
                inputs = replaced(inputs, {position: own.get(text, text) for position, text in addresses.items()})
            yield inputs
        finally:
            self.outputs.forget(id)
            if to_resolve:
                await asyncio.to_thread(self._drafts.remove, [self._inputs / id])

    def get_input(self, prediction: str, key: str) -> StoredFile | None:
        """A file that was downloaded for a running prediction; None if there is none."""
        is_safe = is_key(prediction) and is_name(key)
        return read_file(self._inputs / prediction / key.partition("-")[0]) if is_safe else None

    async def _resolve_all(self, id: str, to_resolve: dict[str, Position]) -> dict[str, str]:  # noqa: A002 - the API's own name
        """Map each address to the address or data URL that the model gets in its place."""
        slots = asyncio.Semaphore(_CONCURRENT)

        async def resolve(number: int, address: str, position: Position) -> str:
            try:
                async with slots:
                    return await self._resolve(id, number, address)
            except LocalError as error:
                raise LocalError(f"input.{'.'.join(map(str, position))}: {error}") from None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    address: group.create_task(resolve(number, address, position))
                    for number, (address, position) in enumerate(to_resolve.items())
                }
        except* LocalError as errors:
            raise errors.exceptions[0] from None  # only the first error, because it ends the prediction
        return {address: task.result() for address, task in tasks.items()}

    async def _resolve(self, id: str, number: int, address: str) -> str:  # noqa: A002 - the API's own name
        if is_data(address):
            return _DATA + address[len(_DATA) :]
        if not is_web(address):
            raise LocalError("it is not an http, https or data URL")
        url = parse_address(address)
        if path := self._own_path(url):
            return f"{self._own_origin}{path}"
        file = await self._inbound.fetch(url, self._inputs / id, str(number))
        return f"{self._own_origin}/inputs/{id}/{number}-{file.name}"

    def _own_path(self, url: Url) -> str:
        """The path of the file on this server that the address names; empty if it names none.

        Any host is accepted, because clients may use host names of this server that are unknown here. The ids of its
        files cannot be guessed. Raises LocalError for an address at this server's known origins that names no file.
        """
        if (match := _UPLOAD_PATH.fullmatch(url.path)) and (file := self.uploads.get(match[1] or match[2])):
            return f"/files/{file.id}/{file.name}"
        if self.outputs.find(url.path):
            return url.path
        if url.origin_ascii in self._origins:
            raise LocalError(f"there is no file at {url.path} on this server (any more)")
        return ""


def _same_origins(origin: str) -> set[str]:
    """The origin, and the loopback origins with its port."""
    port = urlsplit(origin).port
    return {f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")} | {origin}
