"""Stores input files in a folder or object store for other machines. A content is stored once, named by its hash."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from replicate_job.aio import in_thread
from replicate_job.errors import JobError, TransportError
from replicate_job.outputs.place import is_in_store, path_of
from replicate_job.outputs.stores.failure import StoreError
from replicate_job.outputs.stores.location import split

if TYPE_CHECKING:
    from replicate_job.inputs.content import Content
    from replicate_job.outputs.stores.location import Bucket
    from replicate_job.outputs.stores.stores import Stores

FOLDER = ".replicate-job-inputs"
"""The parent folder of all depots, inside the place that ``--save`` names."""


class _Files(Protocol):
    """The folder or bucket of a depot. Methods raise OSError; ``get`` raises FileNotFoundError for a missing file."""

    async def put(self, name: str, data: bytes) -> None: ...
    async def get(self, name: str) -> bytes: ...
    async def clear(self) -> bool:
        """Delete the whole folder. False if this machine has no such folder."""

    async def is_there(self) -> bool:
        """Whether this machine can reach the folder or bucket."""


class Depot:
    """The input files of one submission. ``address`` is the depot's folder or URL as the journal records it."""

    def __init__(self, address: str, stores: Stores) -> None:
        self.address = address
        self._files: _Files = _Objects(stores, *split(address)) if is_in_store(address) else _Folder(path_of(address))

    async def put(self, content: Content, data: bytes) -> None:
        """Raises JobError if the file cannot be written."""
        try:
            await self._files.put(content.sha256, data)
        except OSError as error:
            raise JobError(f"{content.name} cannot be copied to {self.address}: {_why(error)}") from None

    async def get(self, content: Content) -> bytes:
        """Raises JobError for a missing or changed file, and TransportError if the depot cannot be read now."""
        try:
            data = await self._files.get(content.sha256)
        except FileNotFoundError:
            if not await self._files.is_there():
                raise TransportError(
                    f"{content.name} cannot be read: this machine has no folder {self.address}; mount it, or submit "
                    "the batch with --save s3://… (in Python save_to=)"
                ) from None
            raise JobError(f"{content.name} is gone from {self.address}: submit the batch again") from None
        except OSError as error:
            raise TransportError(f"{content.name} cannot be read from {self.address}: {_why(error)}") from None
        if hashlib.sha256(data).hexdigest() != content.sha256:
            raise JobError(f"{content.name} was changed in {self.address}: submit the batch again")
        return data

    async def clear(self) -> bool:
        """Delete all files. Returns False if this machine does not have the depot's folder. Raises OSError."""
        return await self._files.clear()


def _why(error: OSError) -> str:
    return str(error) if isinstance(error, StoreError) else error.strerror or type(error).__name__


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, data: bytes) -> None:
        await in_thread(self._put, name, data)

    def _put(self, name: str, data: bytes) -> None:
        """Sync the content to the disk before the file gets its name, because the journal relies on a complete file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f".{name}.{os.urandom(6).hex()}.part"
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._folder / name)
        finally:
            part.unlink(missing_ok=True)

    async def get(self, name: str) -> bytes:
        return await in_thread((self._folder / name).read_bytes)

    async def clear(self) -> bool:
        return await in_thread(self._clear)

    def _clear(self) -> bool:
        try:
            shutil.rmtree(self._folder)
        except FileNotFoundError:
            return False
        with suppress(OSError):  # the parent is not empty: another depot is in it
            self._folder.parent.rmdir()
        return True

    async def is_there(self) -> bool:
        return await in_thread(self._folder.is_dir)


class _Objects:
    def __init__(self, stores: Stores, bucket: Bucket, folder: str) -> None:
        self._stores, self._bucket, self._folder = stores, bucket, folder

    async def put(self, name: str, data: bytes) -> None:
        await self._stores.put(self._bucket, f"{self._folder}/{name}", data)

    async def get(self, name: str) -> bytes:
        return await self._stores.get(self._bucket, f"{self._folder}/{name}")

    async def clear(self) -> bool:
        await self._stores.clear(self._bucket, self._folder)
        return True

    async def is_there(self) -> bool:
        return True
