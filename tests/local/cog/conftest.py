"""Tests of the engine with real Cog servers, without the local server's HTTP API."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.local.catalog.catalog import Catalog
from replicate_job.local.engine import Engine
from replicate_job.local.files.files import Files
from replicate_job.local.prediction import Ended, Logged, ModelEvent, Produced, Started, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path


class Run:
    """One prediction, with its events so far. A test sets ``canceled`` to cancel it."""

    def __init__(self) -> None:
        self.id = new_id()
        self.canceled = asyncio.Event()
        self.events: list[ModelEvent] = []
        self._changed = asyncio.Event()

    async def follow(self, events: AsyncGenerator[ModelEvent]) -> Run:
        async for event in events:
            self.events.append(event)
            self._changed.set()
        return self

    async def until(self, kind: type[ModelEvent]) -> None:
        """Wait for an event of this kind."""
        while not any(isinstance(event, kind) for event in self.events):
            self._changed.clear()
            await self._changed.wait()

    @property
    def end(self) -> Ended:
        assert isinstance(self.events[-1], Ended), self.events
        return self.events[-1]

    @property
    def log(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Logged))

    @property
    def parts(self) -> list[Any]:
        return [event.value for event in self.events if isinstance(event, Produced)]

    @property
    def has_started(self) -> bool:
        return any(isinstance(event, Started) for event in self.events)


class Bench:
    """Runs models of a catalog by their names, as ``me/<name>``."""

    def __init__(self, catalog: Catalog, engine: Engine, files: Files, notices: list[str], work: Path) -> None:
        self.catalog, self.engine, self.files, self.notices, self.work = catalog, engine, files, notices, work
        self._tasks: set[asyncio.Task[Run]] = set()

    def start(
        self, model: str = "model", version: str = "", context: dict[str, str] | None = None, **given: Any
    ) -> tuple[Run, asyncio.Task[Run]]:
        found = self.catalog.version(version) if version else self.catalog.find("me", model)
        assert found is not None
        run = Run()
        task = asyncio.create_task(run.follow(self.engine.run(found, given, context or {}, run.id, run.canceled)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run, task

    async def run(self, model: str = "model", version: str = "", **given: Any) -> Run:
        return await self.start(model, version, **given)[1]

    async def output(self, model: str = "model", version: str = "", **given: Any) -> Any:
        """Run a prediction, which must succeed, and return its output."""
        end = (await self.run(model, version, **given)).end
        assert (end.status, end.error) == ("succeeded", None)
        return end.output

    def read(self, address: str) -> bytes:
        """The content of an output file."""
        _, _, prediction, name = address.rsplit("/", 3)
        file = self.files.outputs.get(prediction, name)
        assert file is not None, address
        return file.path.read_bytes()


@pytest.fixture
def bench(tmp_path: Path, cache: Path) -> Callable[..., Any]:
    """A context with a ``Bench`` of the test's models. ``interval`` is the catalog's, options are the engine's."""

    @asynccontextmanager
    async def start(*roots: Path, interval: float = 0.0, **options: Any) -> AsyncIterator[Bench]:
        own = tmp_path / "own"
        own.mkdir(exist_ok=True)
        notices: list[str] = []
        files = Files(tmp_path / "files", "http://127.0.0.1:1", secret=b"secret")
        catalog = Catalog(roots or [tmp_path / "models"], versions=tmp_path / "versions", interval=interval)
        engine = Engine(
            cache, own, files, on_notice=notices.append, on_warning=notices.append, **{"grace": 0.2, **options}
        )
        try:
            yield Bench(catalog, engine, files, notices, own)
        finally:
            await engine.close()

    return start
