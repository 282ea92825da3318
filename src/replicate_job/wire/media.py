"""Media types and file extensions.

The types of models' inputs and outputs are listed here, so that they are the same on every machine. For all other
types, Python's ``mimetypes`` decides. The tables that it reads (``/etc/mime.types``, the Windows registry) differ
between machines, and its own table has ``image/webp`` only since Python 3.13.
"""

from __future__ import annotations

from replicate_job.wire.signature import DEFINITE, FAMILIES, sniff

UNKNOWN = "application/octet-stream"
ESSENCE = r"[\w.+-]+/[\w.+-]+"
"""A regular expression, with the flag ``re.ASCII``, for a media type without its parameters."""

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
    ".aiff": "audio/aiff",
    ".mid": "audio/midi",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".srt": "application/x-subrip",
    ".vtt": "text/vtt",
    ".html": "text/html",
    ".htm": "text/html",
    ".xml": "application/xml",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".safetensors": UNKNOWN,
    ".npz": UNKNOWN,
    ".npy": UNKNOWN,
    ".pt": UNKNOWN,
    ".pth": UNKNOWN,
    ".ckpt": UNKNOWN,
    ".onnx": UNKNOWN,
    ".gguf": UNKNOWN,
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

_SIGNED = ("image/", "audio/", "video/", "application/pdf", "model/gltf-binary")
"""Prefixes of the media types whose files begin with a signature. The exception is SVG, which is text."""
_SVG = "image/svg+xml"
_GIVEN_BACK = {
    "text/plain",
    "text/csv",
    "text/html",
    "text/vtt",
    "application/json",
    "application/pdf",
    "application/zip",
}
"""Types, besides images, audio and video, for which every supported Python's ``mimetypes`` returns our suffix."""


def media_type(name: str, head: bytes = b"") -> str:
    """The type by the first bytes, or else by the name's suffix, or else ``application/octet-stream``.

    A suffix that agrees with the first bytes decides, since it is more precise: a ``.docx`` is also a zip archive.
    """
    suffix, sniffed = suffix_of(name), sniff(head)
    if sniffed and not agrees(suffix, sniffed):
        return sniffed
    return _guess(suffix) or sniffed or UNKNOWN


def right_name(name: str, head: bytes) -> str:
    """The file's name, with the suffix for its first bytes if these contradict its own suffix.

    A name without a suffix gets a suffix only if the first bytes are of a definite type.
    """
    suffix, sniffed = suffix_of(name), sniff(head)
    usual = extension(sniffed) if sniffed else None
    if usual is None or (suffix and agrees(suffix, sniffed or "")) or (not suffix and sniffed not in DEFINITE):
        return name
    return name.removesuffix(name[len(name) - len(suffix) :]) + usual


def _guess(suffix: str) -> str | None:
    if suffix in _TYPES or not suffix:
        return _TYPES.get(suffix)
    from mimetypes import guess_type  # noqa: PLC0415 - reads system tables, and is rarely needed

    return guess_type(f"x{suffix}")[0]


def listed_type(suffix: str) -> str | None:
    """The media type of a suffix (with its dot, in lower case) that is listed here; None for any other."""
    return _TYPES.get(suffix)


def suffix_of(name: str) -> str:
    """The last suffix of a file's name, with its dot, in lower case; empty without a suffix."""
    stem, dot, suffix = name.lower().rpartition(".")
    return dot + suffix if stem and suffix else ""


def agrees(suffix: str, media_type: str) -> bool:
    """Whether a file of this type may have this suffix. False without a suffix.

    A definite type, such as JPEG, allows only its own suffixes. Other formats are based on zip, gzip, XML, JSON, ISO
    media and text. So these types also allow every suffix whose files need not begin with a signature: a zip archive
    may be called ``.npz`` or ``.docx``, but not ``.png``.
    """
    own = _TYPES.get(suffix)
    if not suffix or own == media_type or suffix in FAMILIES.get(media_type, ()):
        return bool(suffix)
    return media_type not in DEFINITE and (own is None or own == _SVG or not own.startswith(_SIGNED))


def is_given_back(name: str) -> bool:
    """Whether a file may reach a model as a data URL, which has a media type and no name.

    Cog names such a file with the suffix that Python's ``mimetypes`` returns for the media type. This suffix is right
    on every machine only for a few types. Images, audio and video need no suffix, since models recognise them by
    content.
    """
    suffix = suffix_of(name)
    own = _TYPES.get(suffix)
    if not suffix or own is None:
        return not suffix
    return own in _GIVEN_BACK or (own.startswith(("image/", "audio/", "video/")) and own != "image/x-exr")


def extension(media_type: str) -> str | None:
    """The usual suffix of a media type, with its dot; None for ``application/octet-stream`` and unknown types.

    Parameters of the media type are ignored.
    """
    kind = essence(media_type)
    return None if kind == UNKNOWN else _EXTENSIONS.get(kind)


def essence(media_type: str) -> str:
    """The media type without its parameters, in lower case. ``image/jpg`` and other synonyms become the usual name."""
    kind = media_type.partition(";")[0].strip().lower()
    return _TYPES[_SYNONYMS[kind]] if kind in _SYNONYMS else kind
