"""Who may ask: whoever has the token, and without one this machine's own programs, but no page of another site."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from replicate_job.serving.answer import UNAUTHENTICATED, Answer, problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
_READING = {"GET", "HEAD", "OPTIONS", "QUERY"}
_SIGNED = "/download"
"""Downloads are signed, and need no token."""


class Guard:
    """Refuses writes from other origins, and everything from who does not have the token.

    Without a ``token`` it refuses hosts that are not this machine's loopback names (DNS rebinding). With one, only
    ``/v1`` asks for it: other addresses have ids in them that nobody can guess, and the page asks for the token itself.
    """

    def __init__(self, app: ASGIApp, token: str = "") -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refusal(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Answer | None:
        headers = dict(scope["headers"])
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        known = _HOST.fullmatch(host)
        if known is None:  # it becomes part of addresses in what is answered
            return problem(400, "The header Host is missing or names no host.", "Bad request")
        if not self._token and known[1].lower() not in _HOSTS:
            return problem(403, "This server answers to 127.0.0.1 and localhost only.", "Forbidden")
        if scope["method"] not in _READING and origin and origin not in {f"http://{host}", f"https://{host}"}:
            return problem(403, "This server takes no requests from other web pages.", "Forbidden")
        if self._token and _is_api(scope["path"]) and not self._is_known(headers.get(b"authorization", b"")):
            return UNAUTHENTICATED
        return None

    def _is_known(self, given: bytes) -> bool:
        scheme, _, token = given.partition(b" ")
        return scheme.lower() in {b"bearer", b"token"} and hmac.compare_digest(token.strip(), self._token)


def _is_api(path: str) -> bool:
    return path.startswith("/v1/") and not (path.startswith("/v1/files/") and path.endswith(_SIGNED))
