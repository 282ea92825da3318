"""Runs models: makes ready what each needs, keeps a server for each, and turns its outputs into files."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import LocalError
from replicate_job.local.cog import CogServer, Launch
from replicate_job.local.predictions import Ended, Event, Produced
from replicate_job.local.schema import ensure_schema
from replicate_job.local.venv import ensure_venv

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from replicate_job.local.catalog import Model
    from replicate_job.local.files import Files


class Engine:
    """``cache`` keeps environments and schemas between runs; model servers work below ``folder``, until the end.

    ``grace`` is how long a canceled model may go on, in seconds.
    """

    def __init__(
        self, cache: Path, folder: Path, files: Files, on_notice: Callable[[str], None], *, grace: float
    ) -> None:
        self._cache, self._folder, self._files, self._on_notice = cache, folder, files, on_notice
        self._grace = grace
        self._launches: dict[str, asyncio.Task[Launch]] = {}
        self._servers: dict[str, CogServer] = {}
        self._warming: set[asyncio.Task[None]] = set()

    async def schema(self, model: Model) -> dict[str, Any]:
        """The model's OpenAPI document. Makes its environment first, if need be. Raises LocalError."""
        return (await self._launch(model)).schema

    def warm(self, model: Model) -> None:
        """Start the model's server in the background; what goes wrong shows when it is used."""
        task = asyncio.get_running_loop().create_task(self._warm(model))
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    async def run(
        self,
        model: Model,
        given: dict[str, Any],
        id: str,  # noqa: A002 - the API's own name
        canceled: asyncio.Event,
    ) -> AsyncGenerator[Event]:
        """One prediction's events. Outputs that are files come as addresses on this server."""
        launch, part = await self._launch(model), 0
        if model.stands_in:
            self._on_notice(f"{model.slug}: {model.description}")
        resolved = self._files.resolve(given, launch.schema)
        async with aclosing(self._server(launch).predict(id, resolved, canceled)) as events:
            async for event in events:
                match event:
                    case Produced(part=True):
                        value = await self._files.keep(id, event.value, launch.schema, part)
                        part += 1
                        yield msgspec.structs.replace(event, value=value)
                    case Produced():
                        value = await self._files.keep(id, event.value, launch.schema)
                        yield msgspec.structs.replace(event, value=value)
                    case Ended():
                        yield msgspec.structs.replace(
                            event, output=await self._files.keep(id, event.output, launch.schema)
                        )
                    case _:
                        yield event

    async def close(self) -> None:
        tasks = [*self._warming, *self._launches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    async def _warm(self, model: Model) -> None:
        with suppress(LocalError, OSError):
            await self._server(await self._launch(model)).start()

    def _server(self, launch: Launch) -> CogServer:
        version = launch.model.version
        if version not in self._servers:
            self._servers[version] = CogServer(launch, self._folder, grace=self._grace)
        return self._servers[version]

    async def _launch(self, model: Model) -> Launch:
        """Made ready once, however many ask at the same time; again, if it failed."""
        task = self._launches.get(model.version)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._launches[model.version] = asyncio.get_running_loop().create_task(self._prepare(model))
        return await asyncio.shield(task)

    async def _prepare(self, model: Model) -> Launch:
        try:
            venv = await ensure_venv(model, self._cache / "venvs", self._on_notice)
            document = await ensure_schema(model, venv, self._cache / "schemas")
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise LocalError(f"{model.slug} cannot be prepared: {where}{error.strerror or error}") from error
        return Launch(model, venv, document)
