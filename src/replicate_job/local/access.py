"""Who may ask: whoever has the token, and without one this machine's own programs, but no page of another site."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from replicate_job.serving.answer import UNAUTHENTICATED, Answer, problem
from replicate_job.serving.headers import has_token

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
_READING = {"GET", "HEAD", "OPTIONS", "QUERY"}
_ELSEWHERE = {b"cross-site", b"same-site"}
"""What browsers say of a page of another origin (Sec-Fetch-Site), also where they send no Origin."""
_SIGNED = "/download"
"""Downloads are signed, and need no token."""


class AccessGuard:
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
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = hosts[0] if len(hosts) == 1 else ""  # of two, another reader might take the other
        known = _HOST.fullmatch(host)
        if known is None:  # it becomes part of addresses in what is answered
            return problem(400, "The header Host is missing or names no host.", "Bad request")
        if not self._token and not _is_loopback(known[1].lower()):
            return problem(403, "This server answers to 127.0.0.1 and localhost only.", "Forbidden")
        if _is_of_another_page(scope, headers, host):
            return problem(403, "This server takes no requests from other web pages.", "Forbidden")
        asks = self._token and _is_api(scope["path"])
        if asks and not has_token(headers.get(b"authorization", b""), self._token):
            return UNAUTHENTICATED
        return None


def _is_api(path: str) -> bool:
    return path.startswith("/v1/") and not (path.startswith("/v1/files/") and path.endswith(_SIGNED))


def _is_loopback(host: str) -> bool:
    if host in _HOSTS:
        return True
    try:
        return IPv4Address(host).is_loopback  # an address, as of --host 127.0.0.2, is no name that leads elsewhere
    except ValueError:
        return False


def _is_of_another_page(scope: Scope, headers: dict[bytes, bytes], host: str) -> bool:
    """Whether a page of another origin writes, or one of another site asks the API for more than to be shown.

    A read has an effect too: it makes a model ready. What it answers no such page gets to see.
    """
    site = headers.get(b"sec-fetch-site")
    if scope["method"] in _READING:
        return site == b"cross-site" and headers.get(b"sec-fetch-dest") != b"document" and _is_api(scope["path"])
    own = {f"http://{host}".encode(), f"https://{host}".encode(), b""}
    return site in _ELSEWHERE or any(name == b"origin" and value not in own for name, value in scope["headers"])
