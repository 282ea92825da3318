"""Reads whole objects, and deletes all objects of a folder. Raises StoreError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_job.outputs.stores.upload import told

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from replicate_job.outputs.stores.location import Bucket

PAGE = 500
"""How many objects are deleted in one request."""


async def get(store: ObjectStore, bucket: Bucket, key: str) -> bytes:
    """Raises FileNotFoundError if the bucket exists and has no such object."""

    async def read() -> bytes | None:
        import obstore  # noqa: PLC0415 - an optional dependency

        try:
            return bytes(await (await obstore.get_async(store, key)).bytes_async())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise
            return None

    content = await told(read(), bucket)
    if content is None:
        raise FileNotFoundError(key)
    return content


async def clear(store: ObjectStore, bucket: Bucket, folder: str) -> None:
    """Delete all objects below the folder."""

    async def delete() -> None:
        import obstore  # noqa: PLC0415 - an optional dependency

        async for page in obstore.list(store, folder, chunk_size=PAGE):
            await obstore.delete_async(store, [found["path"] for found in page])

    await told(delete(), bucket)
