"""The object stores of a session. Each bucket is opened once, and tested before anything is paid for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicate_job.aio import in_thread
from replicate_job.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ObjectStore

    from replicate_job.outputs.stores.location import Bucket
    from replicate_job.outputs.stores.upload import StorePlace

AT_ONCE = 8
"""How many objects are written at the same time. A large one takes about 35 MB of memory."""
PROBE = ".replicate-job-check"
_REMEMBERED = 300.0  # Seconds for which a bucket that passed the check is not checked again.
_LONGEST = 30.0  # Seconds that a check may take.


def _open_bucket(bucket: Bucket) -> ObjectStore:
    from replicate_job.outputs.stores.opening import open_bucket  # noqa: PLC0415 - only for users of a store

    return open_bucket(bucket)


class Stores:
    """Opens and checks buckets, and reads and writes objects. ``open`` returns the library's store for a bucket."""

    def __init__(self, open: Callable[[Bucket], ObjectStore] = _open_bucket) -> None:  # noqa: A002 - the fitting name
        self._open_bucket = open
        self._opened: dict[Bucket, ObjectStore] = {}
        self._checked: dict[tuple[Bucket, str], float] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def place(self, bucket: Bucket, key_of: Callable[[str], str]) -> StorePlace:
        """Raises JobError if the bucket cannot be opened."""
        from replicate_job.outputs.stores.upload import StorePlace  # noqa: PLC0415 - only for users of a store

        return StorePlace(await self._open(bucket), bucket, key_of, self._gate)

    async def check(self, bucket: Bucket, folder: str) -> None:
        """Raise JobError if no object can be written below ``folder``.

        A small object is written and deleted. The object remains if the credentials do not allow deleting. A check that
        passed is not repeated for ``_REMEMBERED`` seconds.
        """
        now, place = asyncio.get_running_loop().time(), (bucket, folder)
        if self._checked.get(place, -_REMEMBERED) + _REMEMBERED > now:
            return
        store = await self._open(bucket)
        try:
            async with asyncio.timeout(_LONGEST):
                await _probe(store, bucket, "/".join(filter(None, (folder, PROBE))))
        except TimeoutError:
            why = f"it did not answer within {_LONGEST:.0f} s"
        except OSError as error:  # StoreError is a subclass
            why = str(error)
        else:
            self._checked[place] = now
            return
        raise JobError(f"outputs cannot be kept in {bucket}/{folder}: {why}")

    async def put(self, bucket: Bucket, key: str, content: bytes) -> None:
        """Write an object in one request. Raises StoreError, or JobError if the bucket cannot be opened."""
        from replicate_job.outputs.stores.upload import put  # noqa: PLC0415 - only for users of a store

        async with self._gate:
            await put(await self._open(bucket), bucket, key, content)

    async def get(self, bucket: Bucket, key: str) -> bytes:
        """Read an object. Raises FileNotFoundError if it is missing, and the errors of ``put``."""
        from replicate_job.outputs.stores.objects import get  # noqa: PLC0415 - only for users of a store

        return await get(await self._open(bucket), bucket, key)

    async def clear(self, bucket: Bucket, folder: str) -> None:
        """Delete all objects below the folder. Raises the errors of ``put``."""
        from replicate_job.outputs.stores.objects import clear  # noqa: PLC0415 - only for users of a store

        await clear(await self._open(bucket), bucket, folder)

    async def _open(self, bucket: Bucket) -> ObjectStore:
        if bucket not in self._opened:
            opened = await in_thread(self._open_bucket, bucket)
            self._opened.setdefault(bucket, opened)
        return self._opened[bucket]


async def _probe(store: ObjectStore, bucket: Bucket, key: str) -> None:
    from replicate_job.outputs.stores.upload import put, remove  # noqa: PLC0415 - only for users of a store

    await put(store, bucket, key, b"")
    await remove(store, bucket, key)
