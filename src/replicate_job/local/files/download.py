"""How a file is handed out: with its ranges, and so that no browser runs it as a page of this server."""

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
    from starlette.types import Receive, Scope, Send

    from replicate_job.local.files.file_store import StoredFile

_PLAIN = re.compile(ESSENCE, re.ASCII)
_PICTURE_THAT_RUNS = "image/svg+xml"
_PLAYED = ("audio/", "video/")
_SHOWN = ("image/", *_PLAYED)
_SHOWN_TEXT = {"text/plain", "text/csv", "text/markdown", "text/vtt", "application/json", "application/jsonl"}
_MARKUP = re.compile(r"text/.*|.*[/+](?:html|xml)|.*(?:java|ecma|j|live)script.*")


def file_response(file: StoredFile) -> FileResponse:
    """The answer to GET and HEAD, with length, ETag and ranges.

    Pictures, sound, film and plain text are shown; other text and markup are plain text; an SVG stays one, as pictures
    of pages, but is a download by itself, like all the rest.
    """
    own = file.content_type.partition(";")[0].strip().lower()
    kind, is_shown = _safe(own if _PLAIN.fullmatch(own) else UNKNOWN)
    return _Handed(
        file.path,
        media_type=kind,
        filename=file.name,
        content_disposition_type="inline" if is_shown else "attachment",
        headers={
            "etag": f'"{file.sha256}"',
            "x-content-type-options": "nosniff",
            "content-security-policy": _policy(kind),
        },
    )


class _Handed(FileResponse):
    """Starlette's answer, but not for who has the file already, and not for a file that was just removed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        etag = self.headers["etag"]
        if _names(Headers(scope=scope).get("if-none-match", ""), etag):
            await Response(status_code=304, headers={"etag": etag})(scope, receive, send)
            return
        try:
            self.stat_result = await asyncio.to_thread(os.stat, self.path)
        except FileNotFoundError:
            await NOT_FOUND(scope, receive, send)
            return
        self.set_stat_headers(self.stat_result)
        await super().__call__(scope, receive, send)


def _names(etags: str, etag: str) -> bool:
    return etags.strip() == "*" or any(one.strip().removeprefix("W/") == etag for one in etags.split(","))


def _policy(content_type: str) -> str:
    """No script runs. A player by itself asks for its file again, which an origin of nobody's may not (Chromium)."""
    return "sandbox allow-same-origin" if content_type.startswith(_PLAYED) else "sandbox"


def _safe(content_type: str) -> tuple[str, bool]:
    """A media type to give in its stead, and whether a browser may show it."""
    if content_type == _PICTURE_THAT_RUNS:
        return content_type, False
    if content_type in _SHOWN_TEXT:
        return content_type, True
    if _MARKUP.fullmatch(content_type):
        return "text/plain", True
    return content_type, content_type.startswith(_SHOWN)
