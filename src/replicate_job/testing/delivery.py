"""Output files on an origin of their own, as the API's delivery hosts serve them: without a token."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from replicate_job.serving.answer import Answer
from replicate_job.wire.data_url import encode
from replicate_job.wire.media import media_type

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from starlette.types import Receive, Scope, Send

_RANGE = re.compile(r"bytes=(?P<first>\d+)-(?P<last>\d*)")


class OutputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a script's output, and how its host serves it.

    ``name`` ends the URL, percent-encoded, so that ``../../x`` arrives there; empty for a URL without a name.
    ``content_type`` is guessed from ``name`` when None and left out when empty. ``disposition`` is the
    ``Content-Disposition``. ``redirect``: answer 302 first, to another URL of the file, or to the URL given.
    ``inline``: a data URL instead. ``ranges``, ``etag`` and ``sized`` (``Content-Length``, else chunked) can be
    turned off. The file answers ``gone`` (404 or 410) from ``expires`` seconds after its prediction's creation,
    or once the prediction's data are removed.
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
    """An ASGI app that serves what was published: ``/files/<key>/<name>``. ``origin`` is where it listens."""

    def __init__(self) -> None:
        self.origin = ""
        self._files: dict[str, tuple[OutputFile, float, Callable[[float], bool]]] = {}

    def publish(self, file: OutputFile, removed: Callable[[float], bool]) -> str:
        """The URL of ``file`` from now on, until ``removed`` says of a Unix time that it is gone."""
        if file.inline:
            return file.data_url
        key = secrets.token_hex(8)
        expires = time.time() + file.expires if file.expires is not None else float("inf")
        self._files[key] = file, expires, removed
        tail = f"/{quote(file.name, safe='')}" if file.name else ""
        return f"{self.origin}/{'moved' if file.redirect else 'files'}/{key}{tail}"

    def forget(self, removed: Container[Callable[[float], bool]]) -> None:
        """Whatever was published with one of these is unknown from now on."""
        self._files = {key: item for key, item in self._files.items() if item[2] not in removed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place, _, rest = scope["path"].lstrip("/").partition("/")
        key = rest.partition("/")[0]
        if key not in self._files:
            await Answer(404, b"not found", "text/plain")(scope, receive, send)
            return
        file, expires, removed = self._files[key]
        now = time.time()
        if now >= expires or removed(now):
            await Answer(file.gone, b"gone", "text/plain")(scope, receive, send)
        elif place == "moved":
            target = file.redirect if isinstance(file.redirect, str) else self._moved(scope)
            await Answer(302, headers=(("location", target),))(scope, receive, send)
        else:
            await _serve(file, scope, send)

    def _moved(self, scope: Scope) -> str:
        return f"{self.origin}{scope['raw_path'].decode().replace('/moved/', '/files/', 1)}"


async def _serve(file: OutputFile, scope: Scope, send: Send) -> None:
    asked = dict(scope["headers"])
    tag = f'"{hashlib.sha256(file.content).hexdigest()[:32]}"'
    headers = [("content-type", file.media_type)] if file.media_type else []
    if file.disposition is not None:
        headers.append(("content-disposition", file.disposition))
    if file.etag:
        headers.append(("etag", tag))
    found = _RANGE.fullmatch(asked.get(b"range", b"").decode("latin-1")) if file.ranges else None
    if found and asked.get(b"if-range", tag.encode()) != tag.encode():
        found = None
    status, body, size = 200, file.content, len(file.content)
    if found:
        first, last = int(found["first"]), min(int(found["last"] or size - 1), size - 1)
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
