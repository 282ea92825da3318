"""Recognizes a file's type by its first bytes, as the formats' specifications define them."""

from __future__ import annotations

import re

LONGEST = 1024
"""The number of bytes at the beginning of a file that is enough to recognise its type."""

# (offset, bytes, media type); the first match counts.
_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (8, b"AIFF", "audio/aiff"),
    (8, b"AIFC", "audio/aiff"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    (4, b"ftyphe", "image/heic"),
    (4, b"ftypmif1", "image/heic"),
    (4, b"ftypmsf1", "image/heic"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypM4B", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf2", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"MThd", "audio/midi"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"\x76\x2f\x31\x01", "image/x-exr"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"II+\0", "image/tiff"),
    (0, b"MM\0+", "image/tiff"),
)
_WITHIN = {"image/webp": b"RIFF", "audio/wav": b"R", "video/x-msvideo": b"RIFF", "audio/aiff": b"FORM"}
"""Maps a type whose signature is not at offset 0 to its files' first bytes. WAV: either ``RIFF`` or ``RF64``."""
_MATROSKA = b"\x1a\x45\xdf\xa3"
# These patterns are compiled at first use, since few commands need them.
_HTML = rb"(?i)<(?:!doctype\s+html|html|head|body|script|title|meta|center|h[1-6]|div|p|pre)\b"
_SVG = rb"(?i)<(?:!doctype\s+)?svg\b"
_PROLOGUE = rb"(?i)<(?:\?xml\s|!--)"
_JSON = rb'\{\s*["}]|\[\s*(?:["\[{\]\-0-9]|true|false|null)'
_CONTROLS = rb"[\x00-\x08\x0b\x0c\x0e-\x1f]"

DEFINITE = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/heic", "image/x-exr", "audio/wav"}
    | {"audio/flac", "audio/midi", "audio/aiff", "video/x-msvideo", "application/pdf", "model/gltf-binary"}
)
"""Types on which no other format is based: the first bytes decide, whatever the file's name."""

_ISO_MEDIA = frozenset({".mp4", ".m4v", ".m4a", ".m4b", ".m4p", ".m4r", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2"})
_HEIF = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif", ".avif", ".avifs"})
_WEB_MEDIA = frozenset({".webm", ".weba", ".mkv", ".mka", ".mks", ".mk3d"})

FAMILIES = {
    "image/png": frozenset({".png", ".apng"}),
    "image/jpeg": frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".jps"}),
    "image/avif": _HEIF - {".heic", ".heics"},
    "image/heic": _HEIF,
    "image/tiff": frozenset({".tif", ".tiff", ".dng", ".nef", ".cr2", ".arw"}),
    "audio/wav": frozenset({".wav", ".wave", ".bwf", ".rf64"}),
    "audio/aiff": frozenset({".aiff", ".aif", ".aifc"}),
    "audio/midi": frozenset({".mid", ".midi", ".kar"}),
    "audio/mpeg": frozenset({".mp3", ".mp2", ".mpga", ".aac", ".flac", ".ape"}),  # all may begin with ID3 tags
    "audio/aac": frozenset({".aac", ".adts"}),
    "audio/ogg": frozenset({".ogg", ".oga", ".ogv", ".ogx", ".opus", ".spx"}),
    "audio/opus": frozenset({".opus", ".ogg", ".oga"}),
    "audio/mp4": _ISO_MEDIA,
    "video/mp4": _ISO_MEDIA,
    "video/quicktime": _ISO_MEDIA,
    "video/webm": _WEB_MEDIA,
    "audio/webm": _WEB_MEDIA,
    "video/x-matroska": _WEB_MEDIA,
    "application/pdf": frozenset({".pdf", ".ai"}),
    "model/gltf-binary": frozenset({".glb", ".vrm"}),
}
"""Maps a type to suffixes that its files may have, besides the suffix of the type in ``media``."""


def sniff(head: bytes) -> str | None:
    """The media type by a file's first bytes (``LONGEST`` are enough); None if it cannot be recognised."""
    for offset, magic, media_type in _MAGIC:
        if head.startswith(magic, offset) and head.startswith(_WITHIN.get(media_type, b"")):
            return media_type
    if head.startswith(_MATROSKA):
        return "video/x-matroska" if b"matroska" in head[:64] else "video/webm"
    return _sniff_text(head[:LONGEST])


def _sniff_text(head: bytes) -> str | None:
    """Recognize markup and JSON, which have no signature, by their first characters."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith((b"<", b"{", b"[")) or re.search(_CONTROLS, text):
        return None
    if re.match(_JSON, text):
        return "application/json" if _is_utf8(text) else None
    found = re.search if re.match(_PROLOGUE, text) else re.match
    for pattern, media_type in ((_SVG, "image/svg+xml"), (_HTML, "text/html")):
        if found(pattern, text):
            return media_type
    return "application/xml" if text[:5].lower() == b"<?xml" else None


def _is_utf8(text: bytes) -> bool:
    """Whether the bytes are UTF-8. The last character may be cut off."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.end >= len(text) and error.reason == "unexpected end of data"
    return True
