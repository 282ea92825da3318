"""Makes file names for outputs. A name comes from the file's position in the output, and never from the model."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from replicate_job.wire.media import agrees, essence
from replicate_job.wire.media import extension as usual_extension
from replicate_job.wire.signature import sniff

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 64  # Characters of a stem. With its extension it is far below the 255 bytes of every file system.
_UNSAFE = r"[^A-Za-z0-9]+"
_UNSAFE_VALUE = r"[^\w.@+=-]+"
_LONGEST_VALUE = 80  # Bytes of a value. Every file system accepts a name made of three such values.
_PART = r"\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,12}"
_SUFFIX = re.compile(rf"(?:{_PART}(?=\.(?:gz|bz2|xz|zst)$))?{_PART}$", re.ASCII)
"""The suffix of a URL's path. The suffix of a compressed file includes the suffix before it: ``.tar.gz``."""
_SAYS_NOTHING = {".bin", ".part", ".tmp"}
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
RESERVED = frozenset({"result"})
"""Stems of this package's own files, which lie beside the outputs."""


def stems(positions: Iterable[tuple[str | int, ...]]) -> list[str]:
    """A file name without extension for each position: ``output``, ``output-0``, ``images-0``.

    A name has at most 64 characters, which are ASCII letters, digits and hyphens, and is not a Windows device name. All
    names differ on a file system that ignores case, whatever extensions they get.
    """
    taken = set(RESERVED | _DEVICES)
    names: list[str] = []
    for position in positions:
        steps = ("output", *position) if not position or isinstance(position[0], int) else position
        name = re.sub(_UNSAFE, "-", "-".join(map(str, steps)))[:_LONGEST].strip("-") or "output"
        unique, count = name, 1
        while unique.lower() in taken:
            count += 1
            unique = f"{name[: _LONGEST - 8].rstrip('-')}-{count}"
        taken.add(unique.lower())
        names.append(unique)
    return names


def safe(value: str) -> str:
    """The value as one step of a path: unchanged if possible, else its safe characters and a hash.

    So different values never become equal. The result has at most ``_LONGEST_VALUE`` bytes. Letters and digits of any
    script are safe.
    """
    plain = re.sub(_UNSAFE_VALUE, "-", value).strip(".-")
    if (
        value
        and plain == value
        and len(value.encode()) <= _LONGEST_VALUE
        and value.partition(".")[0].lower() not in _DEVICES
    ):
        return value
    digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:12]
    begun = plain.encode()[: _LONGEST_VALUE - len(digest) - 1].decode(errors="ignore").rstrip(".-")
    return f"{begun}-{digest}" if begun else digest


def extension(url: str, media_type: str | None = None, head: bytes = b"") -> str:
    """The extension from the first bytes, else the media type, else the URL's path, else ``.bin``.

    The URL's suffix is kept if it agrees with the detected type, because it may be more precise.
    """
    usual = usual_extension(media_type or "")
    known = sniff(head) or (essence(media_type or "") if usual else None)
    for suffix in (url_suffix(url), usual):
        if suffix and (known is None or agrees(_last(suffix), known)):
            return suffix
    return usual_extension(known or "") or ".bin"


def _last(suffix: str) -> str:
    return suffix[suffix.rfind(".") :]


def url_suffix(url: str) -> str:
    """The lower-case suffix of the URL's path, with its dot. Empty if there is none, or a meaningless one."""
    if url[:5].lower() == "data:":
        return ""
    try:
        name = urlsplit(url).path.rpartition("/")[2].lower()
    except ValueError:
        return ""
    found = _SUFFIX.search(name, 1)
    return found[0] if found and found[0] not in _SAYS_NOTHING else ""
