"""The local server as an asynchronous context manager, which runs in the current event loop."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from replicate_job.errors import LocalError
from replicate_job.local.extra import missing
from replicate_job.local.options import ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serve(options: ServerOptions = ServerOptions()) -> AsyncIterator[str]:  # noqa: B008 - it is frozen
    """Serve Replicate's API, by default on a free loopback port; yields its origin, ``http://127.0.0.1:PORT``.

    When the context ends, every model's process has ended. Raises LocalError if the server cannot be started.
    """
    if sys.platform == "win32":
        raise LocalError("the local server needs a POSIX system: use Linux, macOS or WSL")
    try:
        from replicate_job.local.build import running_server  # noqa: PLC0415 - needs an extra that may not be installed
    except ModuleNotFoundError as error:
        raise missing(error.name) from None
    async with running_server(options) as base_url:
        yield base_url
