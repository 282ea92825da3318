from __future__ import annotations

import asyncio
import fcntl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest

from replicate_job.errors import LocalError
from replicate_job.local.catalog.async_catalog import AsyncCatalog
from replicate_job.local.catalog.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicate_job.local.catalog.model import LocalModel


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[AsyncCatalog]:
    made = AsyncCatalog(Catalog([tmp_path / "models"], versions=tmp_path / "versions", interval=0.0))
    yield made
    made.close()


@contextmanager
def held_up(versions: Path) -> Iterator[None]:
    """Hold the lock of the stored versions, so that storing a version has to wait."""
    with (versions / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_other_models_are_found_at_once_while_an_edited_model_is_read(
    write_model: Callable[..., Path], catalog: AsyncCatalog, tmp_path: Path
) -> None:
    folder = write_model("one", name="edited")
    write_model("code", name="other")
    old, other = await catalog.find("me", "edited"), await catalog.find("me", "other")
    assert old
    assert other
    (folder / "predict.py").write_text("another")
    with held_up(tmp_path / "versions"):
        looks = [asyncio.create_task(catalog.find("me", "edited")) for _ in range(3)]
        for _ in range(100):
            assert await catalog.find("me", "other") == other
            assert await catalog.version(old.version) == old
        assert not any(look.done() for look in looks)
    new, *again = await asyncio.gather(*looks)
    assert new
    assert new.version != old.version
    assert again == [new, new]


class Watched(Catalog):
    """Records the threads in which folders are scanned."""

    walkers: ClassVar[set[int]] = set()

    def unchanged(self, owner: str, name: str) -> LocalModel | None:
        if not self.fresh(owner, name):
            self.walkers.add(threading.get_ident())
        return super().unchanged(owner, name)


async def test_no_folder_is_scanned_in_the_event_loop(write_model: Callable[..., Path]) -> None:
    catalog = AsyncCatalog(Watched([write_model("code").parent.parent], interval=0.0))
    assert await catalog.find("me", "model") == await catalog.find("me", "model")
    assert Watched.walkers
    assert threading.get_ident() not in Watched.walkers
    catalog.close()


async def test_reading_a_folder_continues_after_its_request_was_canceled(
    write_model: Callable[..., Path], catalog: AsyncCatalog, tmp_path: Path
) -> None:
    folder = write_model("one")
    old = await catalog.find("me", "model")
    (folder / "predict.py").write_text("another")
    with held_up(tmp_path / "versions"):
        look = asyncio.create_task(catalog.find("me", "model"))
        await asyncio.sleep(0)
        look.cancel()
        await asyncio.wait((look,))
        again = asyncio.create_task(catalog.find("me", "model"))
        await asyncio.sleep(0)
    new = await again
    assert new
    assert await catalog.versions(new) == [new, old]


async def test_finding_an_unreadable_model_raises_a_local_error(
    write_model: Callable[..., Path], catalog: AsyncCatalog
) -> None:
    write_model("code", "predict: [")
    assert not [model for model in await catalog.models() if not model.is_built_in]
    assert len(catalog.faults) == 1
    with pytest.raises(LocalError, match="cannot be read"):
        await catalog.find("me", "model")
    assert await catalog.find("me", "none") is None
    assert await catalog.version("0" * 64) is None
