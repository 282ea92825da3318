"""Builds a local server from its parts, starts it, and closes the parts in the right order."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_job.errors import LocalError
from replicate_job.folders import cache_folder
from replicate_job.local.app import make_app
from replicate_job.local.catalog.async_catalog import AsyncCatalog
from replicate_job.local.catalog.catalog import Catalog
from replicate_job.local.deployments import Deployments
from replicate_job.local.engine import Engine
from replicate_job.local.files.files import Files
from replicate_job.local.origin import resolve_origin
from replicate_job.local.parts import Parts
from replicate_job.local.predictions import Predictions
from replicate_job.local.store import Store
from replicate_job.local.webhooks import Webhooks
from replicate_job.open_files import allow_files
from replicate_job.serving.connection import BreakableProtocol
from replicate_job.serving.faults import Faults
from replicate_job.serving.listener import bind, listen, origin_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.options import ServerOptions


_TEMPORARY_PREFIX = "replicate-job-state-"
_ABANDONED_AGE = 60.0  # seconds after which a folder without a lock counts as abandoned
_CLOSE_TIMEOUT = 10.0  # seconds


@asynccontextmanager
async def running_server(options: ServerOptions) -> AsyncIterator[str]:
    """Run a server as ``serve`` does, but without checking the platform and the extra ``[local]``."""
    faults = options.faults or Faults()
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(_bind(options.host, options.port))
        base_url = origin_of(listening)
        parts = await _open(stack, options, base_url, retention=faults.expire)
        models = await parts.catalog.models()  # before the server listens: the first call reads every file
        abandoned = parts.predictions.recover()
        # The model is prepared before the server listens, because a client would not wait for minutes.
        if model := await parts.catalog.find(*options.warm.partition("/")[::2]):
            await parts.engine.schema(model)
            parts.engine.warm(model)
        app = make_app(parts, token=options.token, faults=faults, on_request=options.on_request)
        allow_files()
        await stack.enter_async_context(listen(app, listening, BreakableProtocol))
        prepared = [model for model in models if options.prepare and not model.is_built_in]
        preparing = asyncio.create_task(_prepare(parts, prepared, options.on_warning))
        preparing.add_done_callback(partial(_report_failure, options.on_warning))
        stack.push_async_callback(_end, preparing)
        for row in abandoned:
            if row.webhook:
                parts.webhooks.send_completed(resolve_origin(row.body, base_url), row.webhook)
        yield base_url


async def _prepare(parts: Parts, models: list[LocalModel], on_warning: Callable[[str], None]) -> None:
    """Report faulty folders, prepare models and remove unused versions, after the server began to listen."""
    for fault in parts.catalog.faults:
        on_warning(fault)
    for model in models:
        parts.engine.prepare(model)
    with suppress(OSError):  # the next start tries again
        await parts.catalog.prune()
        await parts.engine.prune()


def _report_failure(on_warning: Callable[[str], None], preparing: asyncio.Task[None]) -> None:
    """Report the error of a task that is not awaited. Otherwise asyncio would print a traceback at some later time."""
    if not preparing.cancelled() and (error := preparing.exception()):
        on_warning(f"not everything could be prepared: {error}")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


async def _within_timeout(close: Callable[[], Awaitable[None]]) -> None:
    """Call ``close``, but wait 10 s at most. Models that still run after that are killed when this process ends."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        is_in_use = error.errno == errno.EADDRINUSE
        advice = "it is in use, maybe by another server: name another port" if is_in_use else error.strerror
        raise LocalError(f"cannot listen on {host}, port {port}: {advice}") from None


async def _open(stack: AsyncExitStack, options: ServerOptions, base_url: str, *, retention: float | None) -> Parts:
    """Open the parts. The stack closes them in reverse order.

    Predictions are closed first, because ending them needs all other parts.
    """
    if options.state:
        store = Store(state := options.state)
        scratch = stack.enter_context(_scratch(state / "running"))  # no other server uses it: the store is locked
    else:
        scratch = stack.enter_context(_temporary_state())
        store = Store(state := scratch / "state")
    stack.callback(store.close)
    files = Files(state, base_url, secret=store.secret("files").encode(), allow_private=options.allow_private)
    cache = options.cache_dir or _default_cache()
    catalog = AsyncCatalog(Catalog(options.models, versions=cache / "versions"))
    stack.callback(catalog.close)
    engine = Engine(
        cache,
        scratch,
        files,
        on_notice=options.on_notice,
        on_warning=options.on_warning,
        on_detail=options.on_detail,
        grace=options.grace,
        idle=options.idle,
        max_models=options.max_models,
        memory=options.memory,
    )
    stack.push_async_callback(_within_timeout, engine.close)
    webhooks = Webhooks(f"whsec_{store.secret('webhooks')}", options.on_warning)
    stack.push_async_callback(_within_timeout, webhooks.close)
    predictions = Predictions(store, retention=retention, on_removed=files.outputs.remove)
    stack.push_async_callback(_within_timeout, predictions.close)
    return Parts(
        catalog=catalog,
        engine=engine,
        predictions=predictions,
        deployments=Deployments(store),
        files=files,
        webhooks=webhooks,
        base_url=base_url,
    )


def _default_cache() -> Path:
    if (folder := cache_folder()) is None:
        raise LocalError(
            "there is no home folder for the models' environments: set HOME, or XDG_CACHE_HOME to a folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        advice = "set XDG_CACHE_HOME to a folder that can be written"
        raise LocalError(f"{folder} cannot be made for the models' environments ({error.strerror}): {advice}") from None
    return folder


@contextmanager
def _temporary_state() -> Iterator[Path]:
    """A folder for the state of a server without ``state``, removed at the end."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY_PREFIX, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder for each run, because the processes of a killed run may still be removing the previous folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as own:
        yield Path(own)


def _remove_abandoned() -> None:
    """Remove the temporary folders of servers that were killed. A model's process group removes its own folder."""
    for abandoned in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY_PREFIX}*"):
        with suppress(LocalError, OSError):
            if time.time() - abandoned.stat().st_mtime > _ABANDONED_AGE:  # a new folder may not be locked yet
                Store(abandoned / "state").close()  # raises LocalError if a server uses it
                shutil.rmtree(abandoned)
