"""Records every request to a server, including those that a fault struck."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send


class RecordedRequest(msgspec.Struct):
    """A received request. ``path`` always has ``/v1``; ``headers`` have lower-case names; ``time`` is a Unix time.

    ``origin`` is ``api`` or ``files``. ``operation`` is an operation of the fault language. ``fault`` is the name of
    the fault that struck, or empty. ``client`` is the connection's ``host:port``. Only create requests have their
    ``body``.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    time: float
    origin: str
    operation: str
    client: str = ""
    fault: str = ""
    body: bytes = b""


class RequestLog:
    """The latest requests, and the counts of all requests by operation.

    At least the latest ``remember`` requests are stored, and at most twice as many. With None, all are stored.
    """

    def __init__(self, remember: int | None = None) -> None:
        self.requests: list[RecordedRequest] = []
        self.counts: Counter[str] = Counter()
        self._remember = remember

    def add(self, request: RecordedRequest) -> None:
        self.counts[request.operation] += 1
        self.requests.append(request)
        # Many are removed together, because removing the first items of a list moves all the others.
        if self._remember is not None and len(self.requests) > 2 * self._remember:
            del self.requests[: -self._remember or None]


class Recorder:
    """An ASGI app around ``app`` that adds each request to ``log``, and to the scope as ``replicate_job.request``."""

    def __init__(self, app: ASGIApp, log: RequestLog, origin: str, classify: Callable[[Scope], str]) -> None:
        self.app, self.log, self.origin, self.classify = app, log, origin, classify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host, port = scope["client"] or ("", 0)
        request = RecordedRequest(
            scope["method"],
            scope["path"],
            scope["query_string"].decode(),
            {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            time.time(),
            self.origin,
            self.classify(scope),
            f"{host}:{port}",
        )
        scope["replicate_job.request"] = request
        self.log.add(request)
        await self.app(scope, receive, send)
