"""Decides which requests are admitted.

If the server has a token, requests need the token. Otherwise only programs on this machine may send requests. Requests
from web pages of other sites are refused in both cases.
"""

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
_READ_METHODS = {"GET", "HEAD", "OPTIONS", "QUERY"}
_OTHER_ORIGIN = {b"cross-site", b"same-site"}
"""Values of ``Sec-Fetch-Site`` for a page of another origin. Some requests have this header and no ``Origin``."""
_SIGNED = "/download"
"""The end of a download's path. Downloads need no token, because their addresses are signed."""


class AccessGuard:
    """Refuses writes from other origins, and requests without the token.

    Without a ``token``, requests to hosts other than this machine's loopback names are refused, which prevents DNS
    rebinding. With a ``token``, only requests to ``/v1`` must send it. The addresses of files and streams contain ids
    that cannot be guessed. The page is served without the token, and sends the token in its own requests to ``/v1``.
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
        host = hosts[0] if len(hosts) == 1 else ""  # with two Host headers, other code might read the other one
        host_match = _HOST.fullmatch(host)
        if host_match is None:  # the host becomes part of addresses in the answer
            return problem(400, "The header Host is missing or names no host.", "Bad request")
        if not self._token and not _is_loopback(host_match[1].lower()):
            return problem(403, "This server answers to 127.0.0.1 and localhost only.", "Forbidden")
        if _is_of_another_page(scope, headers, host):
            return problem(403, "This server takes no requests from other web pages.", "Forbidden")
        needs_token = self._token and _is_api(scope["path"])
        if needs_token and not has_token(headers.get(b"authorization", b""), self._token):
            return UNAUTHENTICATED
        return None


def _is_api(path: str) -> bool:
    return path.startswith("/v1/") and not (path.startswith("/v1/files/") and path.endswith(_SIGNED))


def _is_loopback(host: str) -> bool:
    if host in _HOSTS:
        return True
    try:
        return IPv4Address(host).is_loopback  # such as --host 127.0.0.2; DNS rebinding works with names only
    except ValueError:
        return False


def _is_of_another_page(scope: Scope, headers: dict[bytes, bytes], host: str) -> bool:
    """Whether a page of another origin writes, or a page of another site reads from the API in the background.

    A browser hides the answer from such a page, but a read has an effect too: it prepares a model.
    """
    site = headers.get(b"sec-fetch-site")
    if scope["method"] in _READ_METHODS:
        return site == b"cross-site" and headers.get(b"sec-fetch-dest") != b"document" and _is_api(scope["path"])
    own_origins = {f"http://{host}".encode(), f"https://{host}".encode(), b""}
    is_foreign = any(name == b"origin" and value not in own_origins for name, value in scope["headers"])
    return site in _OTHER_ORIGIN or is_foreign
