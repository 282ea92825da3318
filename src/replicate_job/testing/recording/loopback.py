"""Two ports on loopback: one for API requests, and one with TLS for files."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

from starlette.routing import Router

from replicate_job.serving.connection import BreakableProtocol
from replicate_job.serving.listener import bind, listen, origin_of
from replicate_job.serving.route import route
from replicate_job.testing.environment import environment_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from replicate_job.testing.recording.certificate import Identity

    Handler = Callable[[Request], Awaitable[ASGIApp]]


class Loopback:
    """Two listening sockets. ``own`` is the origin without TLS, on ``port``; ``secure`` is the origin with TLS.

    The port with TLS is a free one. Raises OSError if ``port`` cannot be used.
    """

    def __init__(self, port: int, identity: Identity) -> None:
        self._identity = identity
        with ExitStack() as opened:
            self._sockets = [opened.enter_context(bind(port=number)) for number in (port, 0)]
            self._open = opened.pop_all()
        self.own, other = map(origin_of, self._sockets)
        self.secure = other.replace("http:", "https:")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def environment(self, token: str, list_lag: float = 0.0) -> dict[str, str]:
        """The environment variables that make clients use this server, and trust its port with TLS."""
        return {**environment_of(self.own, token, list_lag), **self._identity.environment}

    @asynccontextmanager
    async def serve(self, app: ASGIApp) -> AsyncIterator[None]:
        plain, secure = self._sockets
        async with (
            listen(app, plain, BreakableProtocol),
            listen(app, secure, BreakableProtocol, tls=self._identity.context),
        ):
            yield


def endpoints(api: Handler, file: Handler, stream: Handler) -> Router:
    """The routes of both ports: for the API, for output files, and for streams."""
    methods = ("get", "post", "patch", "put", "delete", "query")  # the API searches models with the method QUERY
    return Router(
        [
            route("/outputs/{key}/{name:path}", get=file),
            route("/stream/{id}", get=stream),
            route("/v1/{path:path}", **dict.fromkeys(methods, api)),
        ]
    )
