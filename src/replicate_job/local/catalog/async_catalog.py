"""The catalog for an event loop: its work on the file system is done in threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_job.local.catalog.catalog import Catalog
    from replicate_job.local.catalog.model import LocalModel

T = TypeVar("T")


class AsyncCatalog:
    """``Catalog`` with asynchronous methods of the same names.

    A model that was checked a moment ago is returned at once. Otherwise, a thread of asyncio's pool checks whether its
    files have changed. Folders that are new or have changed are read by one thread of this object.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._thread = ThreadPoolExecutor(1, "catalog")

    async def find(self, owner: str, name: str) -> LocalModel | None:
        """Raises LocalError for a model that cannot be read."""
        if model := self._catalog.fresh(owner, name):
            return model
        unchanged = await asyncio.to_thread(self._catalog.unchanged, owner, name)
        return unchanged or await self._in_thread(lambda: self._catalog.find(owner, name))

    async def version(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        return self._catalog.seen(id) or await self._in_thread(lambda: self._catalog.version(id))

    async def versions(self, model: LocalModel) -> list[LocalModel]:
        return await self._in_thread(lambda: self._catalog.versions(model))

    async def models(self) -> list[LocalModel]:
        return await self._in_thread(self._catalog.models)

    @property
    def faults(self) -> list[str]:
        return self._catalog.faults

    async def prune(self) -> None:
        await self._in_thread(self._catalog.prune)

    def close(self) -> None:
        """Start no more work in the thread. Running work is finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
