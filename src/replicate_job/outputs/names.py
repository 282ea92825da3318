"""File names for outputs. They come from us: from an output's position, and at most an extension from its address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from replicate_job.wire.media import extension as usual_extension
from replicate_job.wire.media import sniff

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 64  # characters of a stem; with the extension far below every file system's 255 bytes
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_SUFFIX = re.compile(r"(?:\.tar)?\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,8}", re.ASCII)
_SAYS_NOTHING = {".bin", ".part", ".tmp"}
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
RESERVED = frozenset({"result"})
"""Stems that belong to our own files beside the outputs."""


def stems(positions: Iterable[tuple[str | int, ...]]) -> list[str]:
    """A file name without extension for each position: ``output``, ``output-0``, ``images-0``.

    Letters, digits and hyphens of ASCII only, 64 characters at most, no device name of Windows, and no two equal on
    a file system that ignores case, whatever extensions they get.
    """
    taken = set(RESERVED | _DEVICES)
    names: list[str] = []
    for position in positions:
        steps = ("output", *position) if not position or isinstance(position[0], int) else position
        name = _UNSAFE.sub("-", "-".join(map(str, steps)))[:_LONGEST].strip("-") or "output"
        unique, count = name, 1
        while unique.lower() in taken:
            count += 1
            unique = f"{name[: _LONGEST - 8].rstrip('-')}-{count}"
        taken.add(unique.lower())
        names.append(unique)
    return names


def extension(url: str, media_type: str | None = None, head: bytes = b"") -> str:
    """From the last segment of the URL's path, else the media type, else the first bytes, else ``.bin``."""
    from_url = "" if url[:5].lower() == "data:" else _url_suffix(url)
    sniffed = sniff(head)
    return from_url or usual_extension(media_type or "") or (usual_extension(sniffed) if sniffed else None) or ".bin"


def _url_suffix(url: str) -> str:
    try:
        name = urlsplit(url).path.rpartition("/")[2].lower()
    except ValueError:
        return ""
    dot = name.rfind(".tar.") if ".tar." in name else name.rfind(".")
    suffix = name[dot:] if dot > 0 else ""
    return suffix if _SUFFIX.fullmatch(suffix) and suffix not in _SAYS_NOTHING else ""
