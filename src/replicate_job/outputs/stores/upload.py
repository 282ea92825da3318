"""Uploads an object: a small one in one request, a large one in parts. An object exists only when it is complete."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from replicate_job.aio import in_thread
from replicate_job.outputs.part import Part
from replicate_job.outputs.stores.failure import StoreError, explain
from replicate_job.wire.media import media_type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from obstore.store import ObjectStore

    from replicate_job.outputs.stores.location import Bucket

PART = 5 * 1024**2
"""The bytes of a part: the smallest size that S3 accepts. 10,000 parts are 52 GB. Smaller objects take one request."""
TOGETHER = 2
"""How many parts of one object are uploaded at a time. Memory holds these and the part that is being filled."""
T = TypeVar("T")
_ABORT = 10.0  # Seconds that aborting an upload at the store may take.


class _AbortedError(Exception):
    """Ends the blocks of an aborted upload with an error, so that the store makes no object."""


async def put(store: ObjectStore, bucket: Bucket, key: str, content: bytes) -> None:
    """Write an object in one request. Raises StoreError."""

    async def write() -> None:
        import obstore  # noqa: PLC0415 - an optional dependency

        await obstore.put_async(store, key, content, use_multipart=False, attributes=_attributes(key))

    await told(write(), bucket)


async def remove(store: ObjectStore, bucket: Bucket, key: str) -> None:
    """Delete an object if the store allows it."""

    async def delete() -> None:
        import obstore  # noqa: PLC0415 - an optional dependency

        await obstore.delete_async(store, key)

    with suppress(StoreError):
        await told(delete(), bucket)


async def told(request: Coroutine[Any, Any, T], bucket: Bucket) -> T:
    """Await the request. Raise StoreError for any error, because the store's own text may contain credentials."""
    try:
        return await request
    except _AbortedError:
        raise
    except Exception as error:  # noqa: BLE001 - the library's errors have no common base class
        raise StoreError(explain(error, bucket)) from None


def _attributes(key: str) -> dict[str, str]:
    return {"Content-Type": media_type(key)}


class Multipart:
    """An upload in parts. ``finish`` makes an object of the parts.

    If this process is killed before that, there is no object.
    """

    def __init__(self, store: ObjectStore, bucket: Bucket, key: str) -> None:
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._is_aborted = False
        self._task = asyncio.create_task(told(self._put(store, key), bucket))

    async def _put(self, store: ObjectStore, key: str) -> None:
        import obstore  # noqa: PLC0415 - an optional dependency

        await obstore.put_async(
            store,
            key,
            self._read(),
            use_multipart=True,
            chunk_size=PART,
            max_concurrency=TOGETHER,
            attributes=_attributes(key),
        )

    async def _read(self) -> AsyncIterator[bytes]:
        # The library aborts the upload at the store if this generator raises an error, not if the task is cancelled.
        while (block := await self._blocks.get()) is not None:
            yield block
        if self._is_aborted:
            raise _AbortedError

    async def write(self, block: bytes | None) -> None:
        """Wait until there is room for the block, and add it. None ends the upload. Raises StoreError."""
        adding = asyncio.create_task(self._blocks.put(block))
        try:
            await asyncio.wait({adding, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            adding.cancel()
        if self._task.done():
            self._task.result()

    async def finish(self) -> None:
        """Complete the object. Raises StoreError."""
        if not self._task.done():
            await self.write(None)
        await asyncio.shield(self._task)

    async def abort(self) -> None:
        """Let the store delete the parts; wait up to ``_ABORT`` seconds for that. A complete object stays."""
        self._is_aborted = True
        with suppress(asyncio.QueueEmpty):
            self._blocks.get_nowait()
        with suppress(asyncio.QueueFull):
            self._blocks.put_nowait(None)
        await asyncio.wait({self._task}, timeout=_ABORT)
        self._task.cancel()
        with suppress(asyncio.CancelledError, StoreError, _AbortedError):
            await self._task


class StorePlace:
    """A ``Place`` in a bucket. ``key_of`` maps a file's name to its key. ``gate`` limits the uploads."""

    def __init__(
        self, store: ObjectStore, bucket: Bucket, key_of: Callable[[str], str], gate: asyncio.Semaphore
    ) -> None:
        self.store, self.bucket, self.key_of, self.gate = store, bucket, key_of, gate

    def __str__(self) -> str:
        return str(self.bucket)

    async def make(self) -> None:
        """Do nothing: a store has no folders."""

    def address(self, name: str) -> str:
        return f"{self.bucket}/{self.key_of(name)}"

    def part(self, stem: str) -> Part:
        return _ObjectPart(self, stem)

    async def write(self, name: str, content: bytes) -> None:
        await put(self.store, self.bucket, self.key_of(name), content)


class _ObjectPart(Part):
    def __init__(self, place: StorePlace, stem: str) -> None:
        super().__init__(stem)
        self._place, self._is_in, self._fixed = place, False, ""
        self._block = bytearray()
        self._multipart: Multipart | None = None

    async def open(self) -> None:
        await self._place.gate.acquire()
        self._is_in = True

    async def write(self, data: bytes | bytearray) -> None:
        await in_thread(self.count, data)
        self._block += data
        if len(self._block) < PART:
            return
        if self._multipart is None:
            self._fixed = self.name  # the first bytes decide the extension
            self._multipart = Multipart(self._place.store, self._place.bucket, self._place.key_of(self._fixed))
        block, self._block = bytes(self._block), bytearray()
        await self._multipart.write(block)

    async def restart(self) -> None:
        await self._abort()
        self._block.clear()
        self.forget()

    async def commit(self) -> str:
        name = self._fixed or self.name
        if self._multipart is None:
            await put(self._place.store, self._place.bucket, self._place.key_of(name), bytes(self._block))
        else:
            await self._multipart.write(bytes(self._block))
            await self._multipart.finish()
            self._multipart = None
        return self._place.address(name)

    async def discard(self) -> None:
        try:
            await self._abort()
        finally:
            if self._is_in:
                self._is_in = False
                self._place.gate.release()

    async def _abort(self) -> None:
        multipart, self._multipart, self._fixed = self._multipart, None, ""
        if multipart:
            await asyncio.shield(multipart.abort())
