"""The local server inside the running event loop, from ``async with`` to its end."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_job.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from replicate_job.local.requests import Asked
    from replicate_job.serving.faults import Faults

MODELS, IDLE = 4, 600.0


@asynccontextmanager
async def serve(  # noqa: PLR0913 - each is one fact about the server
    *,
    models: Iterable[Path] = (),
    state: Path | None = None,
    cache_dir: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    warm: str = "",
    idle: float = IDLE,
    max_models: int = MODELS,
    memory: int | None = None,
    grace: float = 5.0,
    faults: Faults | None = None,
    allow_private: bool = False,
    on_notice: Callable[[str], None] = lambda _: None,
    on_request: Callable[[Asked], None] | None = None,
) -> AsyncIterator[str]:
    """Serve Replicate's API, by default on a free loopback port; gives its origin, ``http://127.0.0.1:PORT``.

    ``models`` are folders that hold ``owner/name/cog.yaml``, or a ``cog.yaml`` themselves, besides the built-in ones.
    ``state`` keeps predictions and files between runs, for one server at a time; without it they live until the end.
    ``cache_dir`` keeps environments and schemas. With a ``token`` every client must have it.
    ``warm`` names a model (``owner/name``) that is made ready first, and whose server starts at once. A model's server
    ends after ``idle`` seconds without work; there are ``max_models`` at most, of ``memory`` bytes each; a canceled
    model may go on for ``grace`` seconds. ``faults`` strike requests. With ``allow_private``, inputs are fetched from
    private networks too. ``on_request`` hears of every request once it is over.
    At the end, every model's process is gone. Raises LocalError.
    """
    if sys.platform == "win32":
        raise LocalError("the local server needs a POSIX system: use Linux, macOS or WSL")
    try:
        from replicate_job.listener import bind, listen, origin_of  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.app import Parts, build  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.catalog.catalog import Catalog  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.deployments import Deployments  # noqa: PLC0415 - goes with them
        from replicate_job.local.engine import Engine  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.files.files import Files  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.origin import placed  # noqa: PLC0415 - goes with them
        from replicate_job.local.predictions import Predictions  # noqa: PLC0415 - goes with them
        from replicate_job.local.store import Store  # noqa: PLC0415 - goes with them
        from replicate_job.local.webhooks import Webhooks  # noqa: PLC0415 - goes with them
        from replicate_job.serving.connection import BreakableProtocol  # noqa: PLC0415 - goes with them
        from replicate_job.serving.faults import Faults  # noqa: PLC0415 - goes with them
    except ModuleNotFoundError as error:
        raise LocalError(
            f"the local server needs {error.name}, which is not here: pip install 'replicate-job[local]'"
        ) from None
    faults = faults or Faults()
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(bind(host, port))
        own = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="replicate-job-", ignore_cleanup_errors=True))
        )
        base_url = origin_of(listening)
        state = state or own / "state"
        store = Store(state)
        stack.callback(store.close)
        files = Files(state, base_url, secret=store.secret("files").encode(), allow_private=allow_private)
        cache = cache_dir or _cache_dir()
        catalog = Catalog(models, versions=cache / "versions")
        await asyncio.to_thread(catalog.models)  # the first look reads every file
        engine = Engine(
            *(cache, own, files, on_notice),
            grace=grace,
            idle=idle,
            max_models=max_models,
            memory=memory,
        )
        stack.push_async_callback(engine.close)
        secret = f"whsec_{store.secret('webhooks')}"
        webhooks = Webhooks(secret, on_notice)
        stack.push_async_callback(webhooks.close)
        removing: set[asyncio.Task[None]] = set()

        def remove_files(prediction: str) -> None:
            task = asyncio.create_task(files.remove(prediction))
            removing.add(task)
            task.add_done_callback(removing.discard)

        predictions = Predictions(store, keep=faults.expire, on_removed=remove_files)
        stack.push_async_callback(predictions.close)
        parts = Parts(
            catalog=catalog,
            engine=engine,
            predictions=predictions,
            deployments=Deployments(store),
            files=files,
            webhooks=webhooks,
            webhook_secret=secret,
            base_url=base_url,
        )
        for left in predictions.recover():
            if left.webhook:
                webhooks.send_completed(placed(left.body, base_url), left.webhook)
        # Before the first request, whose client would not wait for minutes.
        if model := catalog.find(*warm.partition("/")[::2]):
            await engine.schema(model)
            engine.warm(model)
        await stack.enter_async_context(
            listen(
                build(parts, token=token, faults=faults, on_request=on_request),
                listening,
                BreakableProtocol,
            )
        )
        yield base_url


def _cache_dir() -> Path:
    from platformdirs import user_cache_path  # noqa: PLC0415 - only where no folder was given

    return user_cache_path("replicate-job", appauthor=False)
