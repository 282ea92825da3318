"""The parts of a server, put together, set going, and ended in the right order."""

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

from replicate_job.connections import allow_files
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
from replicate_job.serving.connection import BreakableProtocol
from replicate_job.serving.faults import Faults
from replicate_job.serving.listener import bind, listen, origin_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.options import ServerOptions


_PASSING = "replicate-job-state-"
_LONG_AGO = 60.0
_LONGEST_CLOSE = 10.0  # seconds


@asynccontextmanager
async def running_server(options: ServerOptions) -> AsyncIterator[str]:
    """What ``serve`` gives. Raises as it does."""
    faults = options.faults or Faults()
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(_bind(options.host, options.port))
        base_url = origin_of(listening)
        parts = await _open(stack, options, base_url, keep=faults.expire)
        models = await parts.catalog.models()  # the first look reads every file
        left = parts.predictions.recover()
        # Before the first request, whose client would not wait for minutes.
        if model := await parts.catalog.find(*options.warm.partition("/")[::2]):
            await parts.engine.schema(model)
            parts.engine.warm(model)
        app = make_app(parts, token=options.token, faults=faults, on_request=options.on_request)
        allow_files()
        await stack.enter_async_context(listen(app, listening, BreakableProtocol))
        settling = asyncio.create_task(_settle(parts, models, options.on_warning))
        settling.add_done_callback(partial(_tell, options.on_warning))
        stack.push_async_callback(_end, settling)
        for row in left:
            if row.webhook:
                parts.webhooks.send_completed(resolve_origin(row.body, base_url), row.webhook)
        yield base_url


async def _settle(parts: Parts, models: list[LocalModel], on_warning: Callable[[str], None]) -> None:
    """What need not be done before it listens."""
    for fault in parts.catalog.faults:
        on_warning(fault)
    for model in models:
        if not model.is_built_in:
            parts.engine.prepare(model)
    with suppress(OSError):  # another time will do
        await parts.catalog.prune()


def _tell(on_warning: Callable[[str], None], settled: asyncio.Task[None]) -> None:
    """Nobody waits for it: what went wrong would be left to asyncio, which prints a traceback, some time."""
    if not settled.cancelled() and (error := settled.exception()):
        on_warning(f"not all was made ready: {error}")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


async def _in_time(close: Callable[[], Awaitable[None]]) -> None:
    """Close, and give up after a while: what is left of models ends with this process."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST_CLOSE):
            await close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        advice = "it is in use, maybe by another server: name another port" if taken else error.strerror
        raise LocalError(f"cannot listen on {host}, port {port}: {advice}") from None


async def _open(stack: AsyncExitStack, options: ServerOptions, base_url: str, *, keep: float | None) -> Parts:
    if options.state:
        store = Store(state := options.state)
        scratch = stack.enter_context(_scratch(state / "running"))  # nobody else has it now
    else:
        scratch = stack.enter_context(_passing())
        store = Store(state := scratch / "state")
    stack.callback(store.close)
    files = Files(state, base_url, secret=store.secret("files").encode(), allow_private=options.allow_private)
    cache = options.cache_dir or _own_cache()
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
    stack.push_async_callback(_in_time, engine.close)
    webhooks = Webhooks(f"whsec_{store.secret('webhooks')}", options.on_warning)
    stack.push_async_callback(_in_time, webhooks.close)
    predictions = Predictions(store, keep=keep, on_removed=files.outputs.remove)
    stack.push_async_callback(_in_time, predictions.close)
    return Parts(
        catalog=catalog,
        engine=engine,
        predictions=predictions,
        deployments=Deployments(store),
        files=files,
        webhooks=webhooks,
        base_url=base_url,
    )


def _own_cache() -> Path:
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
def _passing() -> Iterator[Path]:
    """The folder of a server that keeps nothing.

    One that was killed could not remove its own: where none of its models did, the next server does.
    """
    _remove_left()
    with tempfile.TemporaryDirectory(prefix=_PASSING, ignore_cleanup_errors=True) as own:
        yield Path(own)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for this run alone: those that remove the last run's, after a kill, may still be at it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as own:
        yield Path(own)


def _remove_left() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{_PASSING}*"):
        with suppress(LocalError, OSError):
            if time.time() - left.stat().st_mtime > _LONG_AGO:  # one that was just made is not locked yet
                Store(left / "state").close()  # nobody has it
                shutil.rmtree(left)
