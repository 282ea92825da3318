"""Data URLs (RFC 2397): a file's content as an address."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from urllib.parse import unquote_to_bytes

import msgspec

_HEAD = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?P<parameters>(?:;[^;,\s]+)*),", re.ASCII | re.IGNORECASE)
_WHITESPACE = b" \t\r\n\f"


class Head(msgspec.Struct, frozen=True):
    """What comes before the content, of ``length`` characters. ``media_type`` is in lower case; empty: not given."""

    media_type: str
    is_base64: bool
    length: int


def encode(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def read_head(text: str) -> Head | None:
    """None for what is no data URL. The content is not looked at."""
    found = _HEAD.match(text)
    if found is None:
        return None
    return Head((found["type"] or "").lower(), found["parameters"].lower().endswith(";base64"), found.end())


def decode(url: str) -> tuple[str, bytes]:
    """The media type (lower case, without parameters) and the content.

    Takes what models really write: base64 with line breaks, percent escapes, the URL-safe alphabet, or without
    padding. Raises ValueError for what is no data URL, or whose base64 has another character or a wrong length.
    """
    head = read_head(url)
    if head is None:
        raise ValueError("not a data URL")
    content = unquote_to_bytes(url[head.length :])
    if head.is_base64:
        content = content.translate(bytes.maketrans(b"-_", b"+/"), _WHITESPACE).rstrip(b"=")
        try:
            content = b64decode(content + b"=" * (-len(content) % 4), validate=True)
        except binascii.Error as error:
            raise ValueError(f"broken base64 in a data URL: {error}") from None
    return head.media_type or "text/plain", content
