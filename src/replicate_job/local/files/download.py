"""Makes the response with a stored file. It supports ranges, and prevents a browser from running the file as a page."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response

from replicate_job.serving.answer import NOT_FOUND
from replicate_job.wire.media import ESSENCE, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive, Scope, Send

    from replicate_job.local.files.file_store import StoredFile

CORS = "access-control-allow-origin"
_PLAIN = re.compile(ESSENCE, re.ASCII)
_SVG = "image/svg+xml"
_PLAYED = ("audio/", "video/")
_SHOWN = ("image/", *_PLAYED)
_SHOWN_TEXT = {"text/plain", "text/csv", "text/markdown", "text/vtt", "application/json", "application/jsonl"}
_MARKUP = re.compile(r"text/.*|.*[/+](?:html|xml)|.*(?:java|ecma|j|live)script.*")


def file_response(file: StoredFile, more: Iterable[tuple[str, str]] = ()) -> FileResponse:
    """The response to GET and HEAD, with length, ETag, ranges and ``more`` headers.

    A browser shows images, audio, video and text; markup and scripts are sent as plain text. It downloads all other
    files. An SVG keeps its type, so that pages can show it as an image, but opened by itself it is downloaded.
    """
    own_type = file.content_type.partition(";")[0].strip().lower()
    content_type, is_shown = _safe_type(own_type if _PLAIN.fullmatch(own_type) else UNKNOWN)
    return _StoredFileResponse(
        file.path,
        media_type=content_type,
        filename=file.name,
        content_disposition_type="inline" if is_shown else "attachment",
        headers={
            "etag": f'"{file.sha256}"',
            "x-content-type-options": "nosniff",
            "content-security-policy": _policy(content_type),
            **dict(more),
        },
    )


class _StoredFileResponse(FileResponse):
    """Starlette's response, with 304 for a client that has the file already, and 404 for a file that was removed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        etag = self.headers["etag"]
        if _matches(Headers(scope=scope).get("if-none-match", ""), etag):
            stay = {name: self.headers[name] for name in ("etag", CORS) if name in self.headers}
            await Response(status_code=304, headers=stay)(scope, receive, send)
            return
        try:
            self.stat_result = await asyncio.to_thread(os.stat, self.path)
        except FileNotFoundError:
            await NOT_FOUND(scope, receive, send)
            return
        self.set_stat_headers(self.stat_result)
        await super().__call__(scope, receive, send)


def _matches(etags: str, etag: str) -> bool:
    return etags.strip() == "*" or any(known.strip().removeprefix("W/") == etag for known in etags.split(","))


def _policy(content_type: str) -> str:
    """The content security policy, which lets no script run.

    For audio and video, the sandbox keeps the server's origin. Chromium's player requests the file a second time, and a
    sandbox with an opaque origin may not do that.
    """
    return "sandbox allow-same-origin" if content_type.startswith(_PLAYED) else "sandbox"


def _safe_type(content_type: str) -> tuple[str, bool]:
    """The media type to send, and whether a browser may show the file."""
    if content_type == _SVG:
        return content_type, False
    if content_type in _SHOWN_TEXT:
        return content_type, True
    if _MARKUP.fullmatch(content_type):
        return "text/plain", True
    return content_type, content_type.startswith(_SHOWN)
