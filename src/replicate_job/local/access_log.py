"""Reports every request when it has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LoggedRequest(msgspec.Struct, frozen=True):
    """An ended request. ``path`` is without the query, because a query may contain a signature.

    ``status`` is 0 if there was no response; ``seconds`` is the time until the end of the response.
    """

    method: str
    path: str
    status: int
    seconds: float


class AccessLog:
    """Wraps the ASGI app ``app``, and calls ``on_request`` at the end of each request."""

    def __init__(self, app: ASGIApp, on_request: Callable[[LoggedRequest], None]) -> None:
        self._app, self._on_request = app, on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, began = 0, time.monotonic()

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            path = scope["raw_path"].decode("latin-1")
            self._on_request(LoggedRequest(scope["method"], path, status, time.monotonic() - began))
