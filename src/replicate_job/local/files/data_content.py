"""The content of a data URL, a block at a time: a file of 100 MB is one text of 133 MB, and need not be more."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from replicate_job.wire.data_url import read_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCK = 2**20  # characters
_WHITESPACE = b" \t\r\n\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_ESCAPE = 3  # characters of a percent escape


def read_data_url(url: str, block: int = _BLOCK) -> tuple[str, Iterator[bytes]]:
    """The media type and the content of ``wire.data_url.decode``, with the same leniency.

    Raises ValueError for what is no data URL; while its content is read, for what is no base64.
    """
    head = read_head(url)
    if head is None:
        raise ValueError("not a data URL")
    content = _unquoted(url, head.length, block)
    return head.media_type or "text/plain", _decoded(content) if head.is_base64 else content


def _unquoted(url: str, start: int, block: int) -> Iterator[bytes]:
    while start < len(url):
        end = start + max(block, _ESCAPE)
        cut = url.rfind("%", end - _ESCAPE + 1, end) if end < len(url) else -1  # an escape stays whole
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
        yield b64decode(content[:whole], validate=True)
        left = left[whole:]
    rest = left.rstrip(b"=")
    yield b64decode(rest + b"=" * (-len(rest) % 4), validate=True)
