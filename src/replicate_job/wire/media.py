"""Media types and file extensions.

What models take and make is listed here, to be the same everywhere: the tables behind ``mimetypes``
(``/etc/mime.types``, the Windows registry) differ between machines, and its own has ``image/webp`` only since
Python 3.13. The rest is left to it.
"""

from __future__ import annotations

UNKNOWN = "application/octet-stream"
ESSENCE = r"[\w.+-]+/[\w.+-]+"
"""A media type without its parameters, as a regular expression for ASCII."""

_TYPES = {
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".bmp": "image/bmp",
    ".tiff": "image/tiff",
    ".tif": "image/tiff",
    ".svg": "image/svg+xml",
    ".exr": "image/x-exr",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/opus",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".mid": "audio/midi",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".srt": "application/x-subrip",
    ".vtt": "text/vtt",
    ".html": "text/html",
    ".xml": "application/xml",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".safetensors": UNKNOWN,
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".ply": "model/ply",
}
_SYNONYMS = {
    "image/jpg": ".jpg",
    "audio/x-wav": ".wav",
    "audio/wave": ".wav",
    "audio/vnd.wave": ".wav",
    "audio/mp3": ".mp3",
    "audio/x-flac": ".flac",
    "audio/x-m4a": ".m4a",
    "application/x-zip-compressed": ".zip",
    "application/x-gzip": ".gz",
    "text/xml": ".xml",
}
_EXTENSIONS = {media_type: suffix for suffix, media_type in reversed(_TYPES.items())} | _SYNONYMS

# (offset, bytes, media type), from the formats' own specifications; the first that fits wins.
_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
)


def sniff(head: bytes) -> str | None:
    """The media type that a file's first bytes show (16 are enough); None where they show nothing."""
    for offset, magic, media_type in _MAGIC:
        if head.startswith(magic, offset):
            return media_type
    return None


def media_type(name: str, head: bytes = b"") -> str:
    """By the name's suffix, else by the first bytes, else ``application/octet-stream``."""
    stem, dot, suffix = name.lower().rpartition(".")
    if not stem or not dot:
        return sniff(head) or UNKNOWN
    if dot + suffix in _TYPES:
        return _TYPES[dot + suffix]
    from mimetypes import guess_type  # noqa: PLC0415 - reads system tables, and is rarely needed

    return guess_type(f"x.{suffix}")[0] or sniff(head) or UNKNOWN


def extension(media_type: str) -> str | None:
    """The usual suffix, with its dot, of a media type (parameters are ignored); None for one that says nothing."""
    essence = media_type.partition(";")[0].strip().lower()
    return None if essence == UNKNOWN else _EXTENSIONS.get(essence)
