"""How a file is handed out: with its ranges, and so that no browser runs it as a page of this server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.responses import FileResponse

from replicate_job.wire.media import UNKNOWN

if TYPE_CHECKING:
    from replicate_job.local.files.shelf import File

_PLAIN = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_PICTURE_THAT_RUNS = "image/svg+xml"
_PLAYED = ("audio/", "video/")
_SHOWN = ("image/", *_PLAYED)
_SHOWN_TEXT = {"text/plain", "text/csv", "text/markdown", "text/vtt", "application/json", "application/jsonl"}
_MARKUP = re.compile(r"text/.*|.*[/+](?:html|xml)|.*(?:java|ecma|j|live)script.*")


def file_response(file: File) -> FileResponse:
    """The answer to GET and HEAD, with length, ETag and ranges.

    Pictures, sound, film and plain text are shown; other text and markup are plain text; an SVG stays one, as pictures
    of pages, but is a download by itself, like all the rest.
    """
    own = file.content_type.partition(";")[0].strip().lower()
    kind, is_shown = _safe(own if _PLAIN.fullmatch(own) else UNKNOWN)
    return FileResponse(
        file.path,
        media_type=kind,
        filename=file.name,
        content_disposition_type="inline" if is_shown else "attachment",
        headers={"x-content-type-options": "nosniff", "content-security-policy": _policy(kind)},
    )


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
