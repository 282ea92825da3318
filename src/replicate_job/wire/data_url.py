"""Data URLs (RFC 2397): a file's content as an address."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

from replicate_job.wire.media import ESSENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD = rf"(?ai)data:(?P<type>{ESSENCE})?(?P<parameters>(?:;[^;,\s]+)*),"
_WHITESPACE = b" \t\r\n\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_ESCAPE = 3  # characters of a percent escape
_BLOCK = 2**20  # characters that are decoded together


class Head(msgspec.Struct, frozen=True):
    """The head of a data URL, which comes before the content. It is ``length`` characters long.

    ``media_type`` is in lower case, and empty if the URL has no media type.
    """

    media_type: str
    is_base64: bool
    length: int


def encode(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def read_head(text: str) -> Head | None:
    """Parse the head of a data URL without decoding its content. None if ``text`` is not a data URL."""
    found = re.match(_HEAD, text)
    if found is None:
        return None
    return Head((found["type"] or "").lower(), found["parameters"].lower().endswith(";base64"), found.end())


def decode(url: str) -> tuple[str, bytes]:
    """Return the media type and the whole content. Accepts the same URLs as ``read_blocks``. Raises ValueError."""
    media_type, blocks = read_blocks(url)
    return media_type, b"".join(blocks)


def read_blocks(url: str, block: int = _BLOCK) -> tuple[str, Iterator[bytes]]:
    """Return the media type (lower case, without parameters), and the content in blocks.

    ``block`` characters of the URL are decoded at a time. Deviations that models write are accepted: base64 with line
    breaks, with percent escapes, in the URL-safe alphabet, or without padding. Raises ValueError for a text that is not
    a data URL. Reading the blocks raises ValueError for base64 with an invalid character or a wrong length.
    """
    head = read_head(url)
    if head is None:
        raise ValueError("not a data URL")
    content = _unquoted(url, head.length, block)
    return head.media_type or "text/plain", _decoded(content) if head.is_base64 else content


def _unquoted(url: str, start: int, block: int) -> Iterator[bytes]:
    while start < len(url):
        end = start + max(block, _ESCAPE)
        cut = url.rfind("%", end - _ESCAPE + 1, end) if end < len(url) else -1  # so that no escape is cut in two
        end = end if cut < 0 else cut
        yield unquote_to_bytes(url[start:end])
        start = end


def _decoded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    left = b""
    for block in blocks:
        left += block.translate(_STANDARD, _WHITESPACE)
        content = left.rstrip(b"=")
        if b"=" in content:
            raise ValueError("broken base64 in a data URL: content after its padding")
        whole = len(content) // 4 * 4
        yield _plain(content[:whole])
        left = left[whole:]
    yield _plain(left.rstrip(b"="))


def _plain(base64: bytes) -> bytes:
    try:
        return b64decode(base64 + b"=" * (-len(base64) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"broken base64 in a data URL: {error}") from None
