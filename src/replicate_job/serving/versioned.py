"""Accepts the API's paths with and without ``/v1``, because a client's base URL may already end in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_UNVERSIONED = re.compile(
    r"/(?:predictions|models|deployments|account|hardware|collections|search|webhooks|trainings)(?:/.*)?"
    r"|/files(?:/[^/]+(?:/download)?)?"
)


def versioned(app: ASGIApp) -> ASGIApp:
    """Wrap ``app``, so that it also answers the API's paths without ``/v1``, and with ``/v1/v1``.

    Some clients want ``/v1`` in REPLICATE_BASE_URL (2.0.0b4 for Python), others do not (1.0.7). Here every client works
    with both forms of the variable's value.
    """

    async def with_version(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix("/v1") if scope["path"].startswith("/v1/v1/") else scope["path"]
            scope = {**scope, "path": f"/v1{path}" if _UNVERSIONED.fullmatch(path) else path}
        await app(scope, receive, send)

    return with_version
