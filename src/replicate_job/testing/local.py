"""Runs the local server in a thread, for blocking code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from replicate_job.local.options import ServerOptions
from replicate_job.local.server import serve
from replicate_job.testing.environment import environment_of
from replicate_job.testing.server import in_loop_thread


class LocalAPI(msgspec.Struct, frozen=True):
    """A running local server. ``base_url`` is without ``/v1``. A server without a token accepts any token."""

    base_url: str
    token: str

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that make a subprocess use this server, as in ``ScriptedAPI.environment``."""
        return environment_of(self.base_url, self.token)


@contextmanager
def local_api(options: ServerOptions = ServerOptions()) -> Iterator[LocalAPI]:  # noqa: B008 - it is frozen
    """Serve Replicate's API with real models, by default on a free loopback port, in a thread.

    When the block ends, the processes of all models end. Raises LocalError.
    """
    with in_loop_thread(serve(options), "local-server") as base_url:
        yield LocalAPI(base_url, options.token or "local")
