"""Keeps other web pages out: a browser on this machine can reach this server on behalf of any page that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_HOSTS = {"127.0.0.1", "localhost", "::1"}
_READING = {"GET", "HEAD", "OPTIONS"}


class Guard:
    """Refuses hosts that are not this machine's loopback names (DNS rebinding), and writes from other origins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (fault := _fault(scope)):
            body = {"title": "Forbidden", "detail": fault, "status": 403}
            await JSONResponse(body, 403, media_type="application/problem+json")(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _fault(scope: Scope) -> str:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    if _hostname(f"//{host}") not in _HOSTS:
        return "This server answers to 127.0.0.1 and localhost only."
    origin = headers.get(b"origin")
    if scope["method"] not in _READING and origin is not None and origin != f"http://{host}":
        return "This server takes no requests from other web pages."
    return ""


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
