"""The page of the local server: static files, which use the API as any client does.

``/`` shows all models, ``/OWNER/NAME`` shows one model (its ``url``), ``/p/ID`` shows one prediction (its
``urls.web``), and ``/history`` shows all predictions. The page's scripts and styles are below ``/page/VERSION/``.
VERSION changes with the files, so a browser can cache them forever, and never mixes two releases.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from replicate_job.serving.answer import NOT_FOUND

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

_STATIC = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_OWNER = {"v1", "p", "page", "stream", "files", "inputs", "outputs", "covers"}
"""First parts of paths that cannot be a model's owner.

Unknown paths that begin with one of them get the API's 404 instead of the page.
"""
# Images may come from other hosts, because an input may be a URL, or the output of a prediction on Replicate.
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob: https:; media-src 'self' data: blob: https:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


def routes() -> list[BaseRoute]:
    """The routes of the page and its files. They must come last, because ``/{owner}/{name}`` matches any two parts."""
    return [
        Route("/page/{version}/{file:path}", _file),
        Route("/favicon.ico", _icon),
        Route("/", _page),
        Route("/history", _page),
        Route("/p/{id}", _page),
        Route("/{owner}/{name}", _model),
    ]


async def _page(request: Request) -> ASGIApp:
    return _answer(request, "index.html", "no-cache")


async def _model(request: Request) -> ASGIApp:
    owner, name = request.path_params["owner"], request.path_params["name"]
    if owner in _NO_OWNER or not (_NAME.fullmatch(owner) and _NAME.fullmatch(name)):
        return NOT_FOUND
    return _answer(request, "index.html", "no-cache")


async def _icon(request: Request) -> ASGIApp:
    return _answer(request, "icon.svg", "no-cache")


async def _file(request: Request) -> ASGIApp:
    lasting = request.path_params["version"] == _version()
    return _answer(request, request.path_params["file"], "max-age=31536000, immutable" if lasting else "no-cache")


def _answer(request: Request, name: str, caching: str) -> ASGIApp:
    content = _contents().get(name)
    if content is None:
        return NOT_FOUND
    tag = f'"{_version()}"'
    headers = {**_SAFE, "cache-control": caching, "etag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[Path(name).suffix])


@cache
def _version() -> str:
    digest = sha256()
    for name, content in _sources().items():
        digest.update(b"%d %s %d " % (len(name), name.encode(), len(content)))
        digest.update(content)
    return digest.hexdigest()[:16]


@cache
def _contents() -> dict[str, bytes]:
    """The files by name. A request's path selects one of them, and never becomes a path on disk."""
    version = _version().encode()
    return {
        name: content.replace(b"{version}", version) if name == "index.html" else content
        for name, content in _sources().items()
    }


def _sources() -> dict[str, bytes]:
    paths = sorted(path for path in _STATIC.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(_STATIC).as_posix(): path.read_bytes() for path in paths}
