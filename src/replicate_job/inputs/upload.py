"""Local files of an input, as URLs that a model can read."""

from __future__ import annotations

import asyncio
import hashlib
import stat
import time
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from replicate_job.errors import InputError
from replicate_job.wire.media import media_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

INLINE = 256_000
"""Bytes up to which a file travels as a data URL. The API's "256 kB" read the small way: a file in between is
uploaded, which always works."""

LARGEST = 100 * 1024**2
"""Bytes that the API takes in one file. Its "100 MB" read the large way: a file in between is for the API to judge, and
its 413 comes before anything is paid for."""

MARGIN = 15 * 60
"""Seconds that an earlier upload must still live to be used again: the job may queue before it reads its files."""

_NAME = 255  # bytes of UTF-8 that the API takes as a file name
_BLOCK = 1024**2


class FileInfo(msgspec.Struct, frozen=True):
    """An uploaded file. ``expires_at`` is a Unix time in seconds; None for a file that stays."""

    url: str
    expires_at: float | None = None


class Uploader(Protocol):
    async def upload(self, path: Path, name: str, media_type: str, sha256: str) -> FileInfo:
        """Send the file; ``sha256`` (hex) is what it held when it was read, for the answer to be checked against."""


class UploadCache(Protocol):
    """Uploads by the sha256 (hex) of their content."""

    async def find(self, sha256: str) -> FileInfo | None: ...

    async def remember(self, sha256: str, info: FileInfo) -> None: ...


class _Content(msgspec.Struct, frozen=True):
    """What was read of a file: all of it in ``head`` while it is small enough to inline."""

    size: int
    sha256: str
    head: bytes


async def send_files(
    values: Mapping[str, Any],
    uploader: Uploader,
    cache: UploadCache | None = None,
    *,
    model: str = "the model",
    now: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """A copy of the input in which every ``pathlib.Path`` is a URL; the given input is left as it is.

    A file of up to ``INLINE`` bytes becomes a data URL. A larger one is uploaded, once for each content: ``cache`` is
    asked first. Raises InputError, before any request, naming every file that cannot be sent (missing, not a file,
    unreadable, larger than ``LARGEST``); and whatever ``uploader`` raises.
    """
    await asyncio.to_thread(check_files, values, model=model)
    found = dict(_paths(dict(values)))
    urls: dict[Path, str] = {}
    uploads: dict[str, str] = {}
    for path, where in found.items():
        try:
            content = await asyncio.to_thread(_read, path)
        except OSError as error:
            raise InputError(model, [f"{where}: {path} cannot be read: {error.strerror}"]) from error
        kind = media_type(path.name, content.head)
        if content.size <= INLINE:
            urls[path] = f"data:{kind};base64,{b64encode(content.head).decode()}"
            continue
        if content.sha256 not in uploads:
            uploads[content.sha256] = await _upload(path, kind, content.sha256, uploader, cache, now)
        urls[path] = uploads[content.sha256]
    return {name: _replace(value, urls) for name, value in values.items()}


def check_files(values: Mapping[str, Any], *, model: str = "the model") -> None:
    """Raise InputError naming every file that cannot be sent: missing, not a file, unreadable, too large."""
    problems = [problem for path, where in _paths(dict(values)) if (problem := _problem(path, where))]
    if problems:
        raise InputError(model, problems)


async def _upload(  # noqa: PLR0913, PLR0917 - the file and where it can go
    path: Path, kind: str, sha256: str, uploader: Uploader, cache: UploadCache | None, now: Callable[[], float]
) -> str:
    known = await cache.find(sha256) if cache else None
    if known and (known.expires_at is None or known.expires_at > now() + MARGIN):
        return known.url
    info = await uploader.upload(path, file_name(path), kind, sha256)
    if cache:
        await cache.remember(sha256, info)
    return info.url


def file_name(path: Path) -> str:
    """The file's own name, as UTF-8 of at most 255 bytes that keeps its suffix."""
    name = path.name.encode(errors="replace").decode()
    if len(name.encode()) <= _NAME:
        return name
    suffix = path.suffix.encode(errors="replace")[-20:]
    return name.encode()[: _NAME - len(suffix)].decode(errors="ignore") + suffix.decode(errors="ignore")


def _paths(value: Any, where: str = "") -> Iterator[tuple[Path, str]]:
    """Every file in an input, and the input that holds it."""
    match value:
        case Path():
            yield value, where
        case dict():
            for name, item in value.items():
                yield from _paths(item, f"{where}.{name}" if where else str(name))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _paths(item, f"{where}[{index}]")


def _replace(value: Any, urls: Mapping[Path, str]) -> Any:
    match value:
        case Path():
            return urls[value]
        case dict():
            return {name: _replace(item, urls) for name, item in value.items()}
        case list() | tuple():
            return [_replace(item, urls) for item in value]
    return value


def _problem(path: Path, where: str) -> str | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return f"{where}: {path} is not a file"
        if status.st_size > LARGEST:
            megabytes = status.st_size / 1024**2
            return f"{where}: {path} has {megabytes:.1f} MB, and the API takes 100 MB; give a URL to it instead"
        with path.open("rb"):
            return None
    except (OSError, ValueError) as error:
        return f"{where}: {path} cannot be read: {getattr(error, 'strerror', None) or error}"


def _read(path: Path) -> _Content:
    """Size and hash of one reading, so that both are of the same content."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        head = file.read(INLINE + 1)
        block = head
        while block:
            digest.update(block)
            size += len(block)
            block = file.read(_BLOCK)
    return _Content(size, digest.hexdigest(), head)
