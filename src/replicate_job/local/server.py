"""The local server inside the running event loop, from ``async with`` to its end."""

from __future__ import annotations

import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_job.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable


@asynccontextmanager
async def serve(
    *,
    models: Iterable[Path] = (),
    cache_dir: Path | None = None,
    warm: str = "",
    grace: float = 5.0,
    on_notice: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[str]:
    """Serve Replicate's API on a free loopback port; gives its origin, ``http://127.0.0.1:PORT``.

    ``models`` are folders that hold ``owner/name/cog.yaml``, besides the built-in ones. ``cache_dir`` keeps
    environments and schemas between runs; uploads and outputs live until the end. ``warm`` names a model
    (``owner/name``) that is made ready first, and whose server starts at once. ``grace`` is how long a canceled model
    may go on, in seconds.
    At the end, every model's process is gone. Raises LocalError.
    """
    if sys.platform == "win32":
        raise LocalError("the local server needs a POSIX system: use Linux, macOS or WSL")
    try:
        from replicate_job.listener import bind, listen, origin_of  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.app import App  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.catalog import Catalog  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.engine import Engine  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.files import Files  # noqa: PLC0415 - an extra that may not be installed
        from replicate_job.local.predictions import Predictions  # noqa: PLC0415 - goes with them
    except ModuleNotFoundError as error:
        raise LocalError(
            f"the local server needs {error.name}, which is not here: pip install 'replicate-job[local]'"
        ) from None
    cache = cache_dir or _cache_dir()
    with (
        bind() as listening,
        tempfile.TemporaryDirectory(prefix="replicate-job-", ignore_cleanup_errors=True) as own,
    ):
        base_url = origin_of(listening)
        files = Files(Path(own), base_url)
        catalog, predictions = Catalog(models), Predictions()
        engine = Engine(cache, Path(own), files, on_notice, grace=grace)
        app = App(base_url=base_url, catalog=catalog, engine=engine, predictions=predictions, files=files)
        try:
            # Before the first request, whose client would not wait for minutes.
            if model := catalog.find(*warm.partition("/")[::2]):
                await engine.schema(model)
                engine.warm(model)
            async with listen(app.asgi(), listening):
                yield base_url
        finally:
            await predictions.close()
            await engine.close()


def _cache_dir() -> Path:
    from platformdirs import user_cache_path  # noqa: PLC0415 - only where no folder was given

    return user_cache_path("replicate-job", appauthor=False)
