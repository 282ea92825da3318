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
"""Seconds that a request waits for its model's schema: less than any client's timeout."""


class Engine:
    """Runs predictions of models.

    ``cache`` keeps environments and schemas between runs; model servers work below ``folder`` while they run. A
    canceled model may go on for ``grace`` seconds. At most ``max_models`` servers run at once, and one stops after
    ``idle`` seconds without a prediction. ``memory`` is the limit of each of their processes in bytes: by default
    three quarters of the machine's; 0 is no limit.
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
        self._shipped_schemas: dict[str, dict[str, Any] | None] = {}  # by version; None: it ships none
        self._validators: dict[str, Validator] = {}  # by version
        self._reported_stand_ins: set[str] = set()

    async def schema(self, model: LocalModel, *, again: bool = True, timeout: float | None = None) -> dict[str, Any]:  # noqa: ASYNC109 - the preparation outlives it
        """The model's OpenAPI document. A model that ships none is prepared first; with ``again`` also after a failure.

        Raises LocalError; TimeoutError after ``timeout`` seconds, while the preparation goes on.
        """
        async with asyncio.timeout(timeout):
            return self._shipped_schema(model) or (await self._preparation(model, again=again).result()).schema

    async def known_schema(self, model: LocalModel, timeout: float) -> dict[str, Any] | None:  # noqa: ASYNC109 - as above
        """The model's OpenAPI document, without a preparation that nobody asked for; None where there is none yet.

        Raises LocalError for a model whose preparation failed; TimeoutError while one goes on.
        """
        if model.version in self._preparations:
            return await self.schema(model, again=False, timeout=timeout)
        return self._shipped_schema(model) or stored_schema(model, self._cache / "schemas")

    async def check(self, model: LocalModel, inputs: dict[str, Any]) -> None:
        """Raises RefusedError for inputs that the model does not take; LocalError for a model that has no schema.

        Where the model's preparation takes too long, nothing is checked here: its own server will check the inputs.
        """
        with suppress(TimeoutError):
            schema = await self.schema(model, timeout=SCHEMA_TIMEOUT)
            if model.version not in self._validators:
                # As Cog's server: an input that may be left out may not be null.
                self._validators[model.version] = Validator(without_nullable(schema))
            self._validators[model.version].check(inputs)

    def prepare(self, model: LocalModel) -> None:
        """Prepare the model in the background. An error is reported when the model is used."""
        self._preparation(model)

    def warm(self, model: LocalModel) -> None:
        """Start the model's server in the background. An error is reported when the model is used."""
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
        """One prediction's events, with addresses on this server in place of output files.

        ``context`` is what the model finds as ``cog.current_scope().context``.
        A failure is an ``Ended`` event. Of a canceled prediction, the events may stop without one.
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
        """Remove the workspaces of versions that are not stored any more."""
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
        """The event with addresses in place of files. ``parts`` numbers the items of an output that is a list."""
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
        """Warn once that the model is a stand-in. The line is for each prediction's log."""
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
        """The one preparation of this version, shared by all of its predictions.

        With ``again``, a new one takes its place where it failed, or where its environment was removed since.
        """
        preparation = self._preparations.get(model.version)
        if preparation is None or (again and (preparation.has_failed or preparation.is_lost)):
            preparation = Preparation(lambda report: self._prepare(model, report))
            self._preparations[model.version] = preparation
        return preparation

    async def _prepare(self, model: LocalModel, report: Callable[[str], None]) -> Launch:
        """``report`` takes the lines that become part of the log of each prediction that waits."""

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
