"""Runs models: makes ready what each needs, keeps servers of them, and turns their outputs into files."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from replicate_job.aio import unless
from replicate_job.errors import LocalError
from replicate_job.local.cog.instances import Instances
from replicate_job.local.cog.limits import default_memory
from replicate_job.local.cog.server import CogServer
from replicate_job.local.environment.preparation import Launch, Preparation
from replicate_job.local.environment.schema import ensure_schema, shipped_schema
from replicate_job.local.environment.venv import ensure_venv, ignored_settings
from replicate_job.local.prediction import Ended, Logged, ModelEvent, Produced
from replicate_job.serving.validation import Validator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.files.files import Files


SCHEMA_TIMEOUT = 10.0
"""Seconds that a request waits for its model's schema: less than any client waits for an answer."""


class Engine:
    """``cache`` keeps environments and schemas between runs; model servers work below ``folder``, until the end.

    ``grace`` is how long a canceled model may go on, and ``idle`` how long a server stays without a prediction, in
    seconds; at most ``max_models`` servers run at once. ``memory`` is what each process of a server may have, in
    bytes: three quarters of the machine's where nothing is given, 0 for any.
    """

    def __init__(  # noqa: PLR0913 - one argument a limit
        self,
        cache: Path,
        folder: Path,
        files: Files,
        *,
        on_notice: Callable[[str], None],
        on_warning: Callable[[str], None],
        on_detail: Callable[[str], None] = lambda _: None,
        grace: float,
        idle: float = 600.0,
        max_models: int = 4,
        memory: int | None = None,
    ) -> None:
        self._cache, self._files = cache, files
        self._on_notice, self._on_warning, self._on_detail = on_notice, on_warning, on_detail
        self._outputs = files.outputs
        limit = default_memory() if memory is None else memory

        def make(launch: Launch) -> CogServer:
            return CogServer(launch, folder, grace=grace, memory=limit)

        self._instances = Instances(make, idle=idle, limit=max_models)
        self._preparations: dict[str, Preparation] = {}
        self._warming: set[asyncio.Task[None]] = set()
        self._schemas: dict[str, dict[str, Any] | None] = {}  # of those that ship one, by version
        self._validators: dict[str, Validator] = {}
        self._told: set[str] = set()  # stand-ins

    async def schema(self, model: LocalModel, *, again: bool = True, patience: float | None = None) -> dict[str, Any]:
        """The model's OpenAPI document. Makes its environment first, if need be; ``again``: also if that failed.

        Raises LocalError; TimeoutError after ``patience`` seconds, and it is made ready all the same.
        """
        async with asyncio.timeout(patience):
            return self._shipped(model) or (await self._prepared(model, again=again).result()).schema

    async def check(self, model: LocalModel, given: dict[str, Any]) -> None:
        """Raises RefusedError for an input that the model does not take; LocalError for a model that has no schema.

        A model whose environment is still being made is not waited for long: its own server will check the input.
        """
        with suppress(TimeoutError):
            schema = await self.schema(model, patience=SCHEMA_TIMEOUT)
            if model.version not in self._validators:
                self._validators[model.version] = Validator(schema)
            self._validators[model.version].check(given)

    def prepare(self, model: LocalModel) -> None:
        """Make its environment in the background; what goes wrong shows when it is used."""
        self._prepared(model)

    def warm(self, model: LocalModel) -> None:
        """Start the model's server in the background; what goes wrong shows when it is used."""
        task = asyncio.get_running_loop().create_task(self._warm(model))
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    async def run(
        self,
        model: LocalModel,
        given: dict[str, Any],
        id: str,  # noqa: A002 - the API's own name
        canceled: asyncio.Event,
    ) -> AsyncGenerator[ModelEvent]:
        """One prediction's events. Outputs that are files come as addresses on this server.

        What goes wrong is an ``Ended`` event; where it was canceled, the events may stop without an end.
        """
        preparation = self._prepared(model)
        async with aclosing(preparation.lines()) as lines:
            while line := await unless(canceled, anext(lines, "")):
                yield Logged(f"{line}\n")
        try:
            launch = await unless(canceled, preparation.result())
            if launch is None:
                return
            self._tell_stand_in(model)
            async with (
                self._files.resolved(id, given, launch.schema, canceled) as resolved,
                self._instances.use(launch, canceled) as server,
            ):
                if server is None:
                    return
                parts = count()
                async with aclosing(server.predict(id, resolved, canceled)) as events:
                    async for event in events:
                        yield await self._with_addresses(id, event, launch.schema, parts)
        except LocalError as error:
            yield Ended("failed", error=str(error))
        except OSError as error:
            yield Ended("failed", error=f"{model.slug} could not be run here: {_in_words(error)}")

    async def close(self) -> None:
        for task in self._warming:
            task.cancel()
        await asyncio.gather(*self._warming, return_exceptions=True)
        await asyncio.gather(*(preparation.close() for preparation in self._preparations.values()))
        await self._instances.close()

    async def _with_addresses(
        self,
        id: str,  # noqa: A002 - the API's own name
        event: ModelEvent,
        schema: dict[str, Any],
        parts: Iterator[int],
    ) -> ModelEvent:
        """The event with addresses in place of files. ``parts`` numbers the items of an output that is a list."""
        match event:
            case Produced():
                part = next(parts) if event.part else None
                return replace(event, value=await self._outputs.keep(id, event.value, schema, part))
            case Ended():
                return replace(event, output=await self._outputs.keep(id, event.output, schema))
        return event

    async def _warm(self, model: LocalModel) -> None:
        with suppress(LocalError, OSError):
            launch = await self._prepared(model).result()
            async with self._instances.use(launch, asyncio.Event()) as server:
                if server is not None:
                    await server.start()

    def _tell_stand_in(self, model: LocalModel) -> None:
        """Once a server. Each prediction's own log says it too."""
        if model.stands_in and model.slug not in self._told:
            self._told.add(model.slug)
            self._on_warning(f"{model.slug}: {model.description}")

    def _shipped(self, model: LocalModel) -> dict[str, Any] | None:
        if model.version not in self._schemas:
            self._schemas[model.version] = shipped_schema(model)
        return self._schemas[model.version]

    def _prepared(self, model: LocalModel, *, again: bool = True) -> Preparation:
        """Made ready once, however many ask at the same time; ``again``, if it failed or was removed."""
        found = self._preparations.get(model.version)
        if found is None or (again and (found.has_failed or found.is_lost)):
            found = self._preparations[model.version] = Preparation(lambda say: self._prepare(model, say))
        return found

    async def _prepare(self, model: LocalModel, say: Callable[[str], None]) -> Launch:
        def tell(line: str) -> None:
            self._on_notice(line)
            say(line)

        def tell_detail(line: str) -> None:
            self._on_detail(line)
            say(line)

        if line := ignored_settings(model):
            tell(line)
        try:
            venv = await ensure_venv(model, self._cache / "venvs", tell, tell_detail)
            document = self._shipped(model) or await ensure_schema(model, venv, self._cache / "schemas")
        except OSError as error:
            raise LocalError(f"{model.slug} cannot be prepared: {_in_words(error)}") from error
        return Launch(model, venv, document)


def _in_words(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
