"""Serves output files at a separate origin, which needs no token, like the API's delivery hosts."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from replicate_job.serving.answer import ANY_ORIGIN, Answer
from replicate_job.wire.data_url import encode
from replicate_job.wire.media import media_type

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from starlette.types import Receive, Scope, Send

_RANGE = re.compile(r"bytes=(?P<first>\d+)-(?P<last>\d*)")


class OutputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a script's output, and how its host serves it.

    - ``name`` is the last part of the URL. It is percent-encoded, so that ``../../x`` is one part. If it is empty, the
      URL has no such part.
    - ``content_type`` is guessed from ``name`` if it is None, and not sent if it is empty. ``disposition`` is the
      ``Content-Disposition``, which is not sent if it is None.
    - With ``redirect=True``, the URL answers 302 to another URL of the file; with a text, it answers 302 to that URL.
    - With ``inline``, the output has a data URL in place of an address.
    - ``ranges``, ``etag`` and ``sized`` are features of the host that can be turned off. Without ``sized``, the
      response is chunked instead of having a ``Content-Length``.
    - ``gone`` is the status of the response (404 or 410) from ``expires`` seconds after the prediction's creation on,
      and once the prediction's data are removed.
    """

    content: bytes
    name: str = "out.bin"
    content_type: str | None = None
    disposition: str | None = None
    redirect: bool | str = False
    inline: bool = False
    ranges: bool = True
    etag: bool = True
    sized: bool = True
    expires: float | None = None
    gone: int = 404

    @property
    def media_type(self) -> str:
        if self.content_type is not None:
            return self.content_type
        return media_type(self.name)

    @property
    def data_url(self) -> str:
        return encode(self.media_type, self.content)


class Delivery:
    """An ASGI app that serves published files at ``/files/<key>/<name>``. ``origin`` is the server's origin."""

    def __init__(self) -> None:
        self.origin = ""
        self._files: dict[str, tuple[OutputFile, float, Callable[[float], bool]]] = {}

    def publish(self, file: OutputFile, removed: Callable[[float], bool]) -> str:
        """Serve a file, and return its URL. ``removed`` returns whether the file is removed at the given Unix time."""
        if file.inline:
            return file.data_url
        key = secrets.token_hex(8)
        expires = time.time() + file.expires if file.expires is not None else float("inf")
        self._files[key] = file, expires, removed
        tail = f"/{quote(file.name, safe='')}" if file.name else ""
        return f"{self.origin}/{'moved' if file.redirect else 'files'}/{key}{tail}"

    def forget(self, removed: Container[Callable[[float], bool]]) -> None:
        """Answer 404 for the files that were published with one of these functions ``removed``."""
        self._files = {key: item for key, item in self._files.items() if item[2] not in removed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        folder, _, rest = scope["path"].lstrip("/").partition("/")
        key = rest.partition("/")[0]
        if key not in self._files:
            await Answer(404, b"not found", "text/plain")(scope, receive, send)
            return
        file, expires, removed = self._files[key]
        now = time.time()
        if now >= expires or removed(now):
            await Answer(file.gone, b"gone", "text/plain")(scope, receive, send)
        elif folder == "moved":
            target = file.redirect if isinstance(file.redirect, str) else self._moved(scope)
            await Answer(302, headers=(("location", target),))(scope, receive, send)
        else:
            await serve_file(file, scope, send)

    def _moved(self, scope: Scope) -> str:
        return f"{self.origin}{scope['raw_path'].decode().replace('/moved/', '/files/', 1)}"


async def serve_file(file: OutputFile, scope: Scope, send: Send) -> None:
    """Answer a GET with the file, or with the requested range of it."""
    request_headers = dict(scope["headers"])
    tag = f'"{hashlib.sha256(file.content).hexdigest()[:32]}"'
    headers = [*ANY_ORIGIN, *([("content-type", file.media_type)] if file.media_type else [])]
    if file.disposition is not None:
        headers.append(("content-disposition", file.disposition))
    if file.etag:
        headers.append(("etag", tag))
    part = _RANGE.fullmatch(request_headers.get(b"range", b"").decode("latin-1")) if file.ranges else None
    if part and request_headers.get(b"if-range", tag.encode()) != tag.encode():
        part = None
    status, body, size = 200, file.content, len(file.content)
    if part:
        first, last = int(part["first"]), min(int(part["last"] or size - 1), size - 1)
        if first > last:
            status, body = 416, b""
            headers.append(("content-range", f"bytes */{size}"))
        else:
            status, body = 206, file.content[first : last + 1]
            headers.append(("content-range", f"bytes {first}-{last}/{size}"))
    if file.ranges:
        headers.append(("accept-ranges", "bytes"))
    if file.sized:
        headers.append(("content-length", str(len(body))))
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
