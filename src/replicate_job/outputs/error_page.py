"""Detects a web page or an error document that a host sent with status 200 instead of a file."""

from __future__ import annotations

from replicate_job.outputs.names import url_suffix
from replicate_job.wire.media import essence, listed_type
from replicate_job.wire.signature import sniff

_WORDS = {
    "text/html": "a web page",
    "application/xml": "an XML document",
    "application/json": "a JSON document",
}
_HELD_BY = {
    "text/html": {"text/html", "application/xml"},
    "application/xml": {"text/html", "application/xml", "image/svg+xml"},
    "application/json": {"application/json", "application/jsonl", "model/gltf+json"},
}
"""Maps a type of page to the file types that can begin with the same bytes. Such a file cannot be told from a page."""
_DECLARED = {
    "text/html": ("text/html", "application/xhtml+xml"),
    "application/xml": ("application/xml", "text/xml"),
    "application/json": ("application/json", "application/problem+json"),
}


def page_in_place_of(url: str, media_type: str | None, head: bytes) -> str:
    """Describe, for a message, the page that came instead of the file. Empty if the content may be the file.

    The URL's suffix tells which type of file was expected; without a known suffix nothing is detected. A text file can
    have any content, so it counts as a page only if the host's media type agrees with its first bytes.
    """
    suffix, page = url_suffix(url), sniff(head)
    named = listed_type(suffix[suffix.rfind(".") :])
    if named is None or page not in _WORDS or named in _HELD_BY[page]:
        return ""
    if named.startswith("text/") and essence(media_type or "") not in _DECLARED[page]:
        return ""
    return f"{_WORDS[page]} came in place of a {suffix} file"
