"""The catalog as an event loop asks it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_job.local.catalog.catalog import Catalog
    from replicate_job.local.catalog.model import LocalModel

Found = TypeVar("Found")


class AsyncCatalog:
    """What was looked at just now comes at once. All else is up to threads, of which one reads what was edited.

    The methods are those of ``Catalog``.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._thread = ThreadPoolExecutor(1, "catalog")

    async def find(self, owner: str, name: str) -> LocalModel | None:
        """Raises LocalError for a model that cannot be read."""
        if model := self._catalog.fresh(owner, name):
            return model
        unchanged = await asyncio.to_thread(self._catalog.unchanged, owner, name)  # walks through its folder
        return unchanged or await self._look(lambda: self._catalog.find(owner, name))

    async def version(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        return self._catalog.seen(id) or await self._look(lambda: self._catalog.version(id))

    async def versions(self, model: LocalModel) -> list[LocalModel]:
        return await self._look(lambda: self._catalog.versions(model))

    async def models(self) -> list[LocalModel]:
        return await self._look(self._catalog.models)

    @property
    def faults(self) -> list[str]:
        return self._catalog.faults

    async def prune(self) -> None:
        await self._look(self._catalog.prune)

    def close(self) -> None:
        """Let a look that goes on end by itself; nobody waits for it any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look(self, work: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
