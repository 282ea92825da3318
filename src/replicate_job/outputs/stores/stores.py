"""The object stores of a session: each bucket is opened once, and tried before anything is paid for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicate_job.aio import in_thread
from replicate_job.errors import JobError
from replicate_job.outputs.stores.failure import StoreError
from replicate_job.outputs.stores.opening import open_bucket
from replicate_job.outputs.stores.upload import StorePlace, put, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ObjectStore

    from replicate_job.outputs.stores.location import Bucket

AT_ONCE = 16
"""Objects that are written at the same time, each with at most 20 MB in memory."""
PROBE = ".replicate-job-check"
_REMEMBERED = 300.0  # seconds for which a bucket that took the probe is believed to take outputs
_LONGEST = 30.0  # seconds of a check


class Stores:
    """``open`` makes the library's store of a bucket."""

    def __init__(self, open: Callable[[Bucket], ObjectStore] = open_bucket) -> None:  # noqa: A002 - its noun
        self._open_bucket = open
        self._opened: dict[Bucket, ObjectStore] = {}
        self._checked: dict[tuple[Bucket, str], float] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def place(self, bucket: Bucket, key_of: Callable[[str], str]) -> StorePlace:
        """Raises JobError where the bucket cannot be opened."""
        return StorePlace(await self._open(bucket), bucket, key_of, self._gate)

    async def check(self, bucket: Bucket, folder: str) -> None:
        """Raise JobError if no object can be written below ``folder``; what was tried lately is not tried again.

        A small object is written and deleted. Who may write and not delete finds it there, once for each folder.
        """
        now, place = asyncio.get_running_loop().time(), (bucket, folder)
        if self._checked.get(place, -_REMEMBERED) + _REMEMBERED > now:
            return
        store = await self._open(bucket)
        try:
            async with asyncio.timeout(_LONGEST):
                await _probe(store, bucket, "/".join(filter(None, (folder, PROBE))))
        except StoreError as error:
            raise JobError(f"outputs cannot be kept in {bucket}/{folder}: {error}") from None
        except TimeoutError:
            raise JobError(
                f"outputs cannot be kept in {bucket}/{folder}: it did not answer within {_LONGEST:.0f} s"
            ) from None
        self._checked[place] = now

    async def _open(self, bucket: Bucket) -> ObjectStore:
        if bucket not in self._opened:
            opened = await in_thread(self._open_bucket, bucket)
            self._opened.setdefault(bucket, opened)
        return self._opened[bucket]


async def _probe(store: ObjectStore, bucket: Bucket, key: str) -> None:
    import obstore  # noqa: PLC0415 - an extra, which opened the store

    await put(store, bucket, key, b"")
    try:
        await told(obstore.delete_async(store, key), bucket)
    except StoreError:
        return  # some may write and not delete
