"""Runs models: prepares their environments, runs them on model servers, and stores their output files."""

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
from replicate_job.local.environment.schema import ensure_schema, shipped_schema, stored_schema
from replicate_job.local.environment.venv import ensure_venv, ignored_settings
from replicate_job.local.environment.workspace import Workspace, prune
from replicate_job.local.prediction import Ended, Logged, ModelEvent, Produced
from replicate_job.serving.validation import Validator
from replicate_job.wire import stand_in
from replicate_job.wire.openapi import without_nullable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
    from pathlib import Path

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.files.files import Files


SCHEMA_TIMEOUT = 10.0
"""Seconds that a request waits for its model's schema. Every client's timeout is longer."""


class Engine:
    """Runs predictions of models.

    Environments and schemas are stored below ``cache`` between runs. Model servers work below ``folder`` while they
    run. A canceled model that still runs after ``grace`` seconds is killed. At most ``max_models`` model servers run
    together, and each stops after ``idle`` seconds without a prediction. ``memory`` is the limit in bytes for each
    process of a model server. By default, it is three quarters of the machine's memory; 0 means no limit.
    """

    def __init__(  # noqa: PLR0913 - one argument for each folder, callback and limit
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
        self._shipped_schemas: dict[str, dict[str, Any] | None] = {}  # by version; None if the model ships no schema
        self._validators: dict[str, Validator] = {}  # by version
        self._reported_stand_ins: set[str] = set()

    async def schema(self, model: LocalModel, *, again: bool = True, timeout: float | None = None) -> dict[str, Any]:  # noqa: ASYNC109 - only the wait ends; the preparation goes on
        """The model's OpenAPI document. A model that ships no document is prepared first.

        With ``again``, a preparation that failed is started again. Raises LocalError if the preparation fails. Raises
        TimeoutError after ``timeout`` seconds; the preparation continues.
        """
        async with asyncio.timeout(timeout):
            return self._shipped_schema(model) or (await self._preparation(model, again=again).result()).schema

    async def known_schema(self, model: LocalModel, timeout: float) -> dict[str, Any] | None:  # noqa: ASYNC109 - only the wait ends; the preparation goes on
        """The model's OpenAPI document, without starting a preparation. None if the document is not known yet.

        If a preparation is under way, this waits for the document. Raises LocalError if that preparation failed, and
        TimeoutError if it takes longer than ``timeout`` seconds.
        """
        if model.version in self._preparations:
            return await self.schema(model, again=False, timeout=timeout)
        return self._shipped_schema(model) or stored_schema(model, self._cache / "schemas")

    async def check(self, model: LocalModel, inputs: dict[str, Any]) -> None:
        """Raise RefusedError for invalid inputs, and LocalError for a model whose schema cannot be read.

        During a long preparation, nothing is checked here: the model's own server will check the inputs.
        """
        with suppress(TimeoutError):
            schema = await self.schema(model, timeout=SCHEMA_TIMEOUT)
            if model.version not in self._validators:
                # As in Cog's server, an optional input may be left out, but may not be null.
                self._validators[model.version] = Validator(without_nullable(schema))
            self._validators[model.version].check(inputs)

    def prepare(self, model: LocalModel) -> None:
        """Prepare the model in the background. An error is raised when the model is used."""
        self._preparation(model)

    def warm(self, model: LocalModel) -> None:
        """Start the model's server in the background. An error is raised when the model is used."""
        task = asyncio.get_running_loop().create_task(self._warm(model))
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    async def run(
        self,
        model: LocalModel,
        inputs: dict[str, Any],
        context: Mapping[str, str],
        id: str,  # noqa: A002 - the API's own name
        canceled: asyncio.Event,
    ) -> AsyncGenerator[ModelEvent]:
        """Run a prediction. Yields its events, with addresses on this server in place of output files.

        The model finds ``context`` as ``cog.current_scope().context``. A failure is an ``Ended`` event. The events of a
        canceled prediction may stop without an ``Ended``.
        """
        preparation = self._preparation(model)
        # While the model is prepared, the preparation's progress is the prediction's log.
        async with aclosing(preparation.lines()) as lines:
            while line := await unless(canceled, anext(lines, "")):
                yield Logged(f"{line}\n")
        try:
            launch = await unless(canceled, preparation.result())
            if launch is None:
                return
            if model.stands_in:
                yield Logged(f"{self._report_stand_in(model)}\n")
            async with (
                self._files.resolved(id, inputs, launch.schema, canceled) as resolved,
                self._instances.use(launch, canceled) as server,
            ):
                if server is None:
                    return
                parts = count()
                async with aclosing(server.predict(id, resolved, canceled, context)) as events:
                    async for event in events:
                        yield await self._with_addresses(id, event, launch.schema, parts)
        except LocalError as error:
            yield Ended("failed", error=str(error))
        except OSError as error:
            yield Ended("failed", error=f"{model.slug} could not be run here: {_error_text(error)}")

    async def prune(self) -> None:
        """Remove workspaces that have not been used for 30 days, and whose version is no longer stored."""
        await asyncio.to_thread(prune, self._cache / "workspaces", self._cache / "versions")

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
        """The event with addresses in place of files. ``parts`` counts the items of an output that is a list."""
        match event:
            case Produced():
                part = next(parts) if event.part else None
                return replace(event, value=await self._outputs.store(id, event.value, schema, part))
            case Ended():
                return replace(event, output=await self._outputs.store(id, event.output, schema))
        return event

    async def _warm(self, model: LocalModel) -> None:
        with suppress(LocalError, OSError):
            launch = await self._preparation(model).result()
            async with self._instances.use(launch, asyncio.Event()) as server:
                if server is not None:
                    await server.start()

    def _report_stand_in(self, model: LocalModel) -> str:
        """Warn that the model is a stand-in, once for each model. Returns the line for the prediction's log."""
        line = stand_in.notice(model.slug, model.description)
        if line not in self._reported_stand_ins:
            self._reported_stand_ins.add(line)
            self._on_warning(line)
        return line

    def _shipped_schema(self, model: LocalModel) -> dict[str, Any] | None:
        if model.version not in self._shipped_schemas:
            self._shipped_schemas[model.version] = shipped_schema(model)
        return self._shipped_schemas[model.version]

    def _preparation(self, model: LocalModel, *, again: bool = True) -> Preparation:
        """The preparation of this version, which all of its predictions share.

        With ``again``, a preparation that failed, or whose environment was removed since, is replaced by a new one.
        """
        preparation = self._preparations.get(model.version)
        if preparation is None or (again and (preparation.has_failed or preparation.is_lost)):
            preparation = Preparation(lambda report: self._prepare(model, report))
            self._preparations[model.version] = preparation
        return preparation

    async def _prepare(self, model: LocalModel, report: Callable[[str], None]) -> Launch:
        """Prepare a model. The lines passed to ``report`` are added to the log of each prediction that waits for it."""

        def report_notice(line: str) -> None:
            self._on_notice(line)
            report(line)

        def report_detail(line: str) -> None:
            self._on_detail(line)
            report(line)

        if line := ignored_settings(model):
            report_notice(line)
        try:
            venv = await ensure_venv(model, self._cache / "venvs", report_notice, report_detail)
            workspace = Workspace(model, venv, self._cache / "workspaces" / model.version)
            await asyncio.to_thread(workspace.make)
            document = self._shipped_schema(model) or await ensure_schema(workspace, self._cache / "schemas")
        except OSError as error:
            raise LocalError(f"{model.slug} cannot be prepared: {_error_text(error)}") from error
        return Launch(model, workspace, document)


def _error_text(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
