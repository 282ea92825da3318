"""Local files of an input, as URLs that a model can read."""

from __future__ import annotations

import asyncio
import hashlib
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from replicate_job.errors import InputError
from replicate_job.wire import data_url
from replicate_job.wire.media import is_given_back, media_type, right_name, suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

INLINE = 256_000
"""Bytes up to which a file travels as a data URL. The API's "256 kB" read the small way: a file in between is
uploaded, which always works."""

LARGEST = 100 * 1024**2
"""Bytes that the API takes in one file. Its "100 MB" read the large way: a file in between is for the API to judge, and
its 413 comes before anything is paid for."""

MARGIN = 15 * 60
"""Seconds before its expiry until which an upload is used again: the job may queue before it reads its files."""

_NAME = 255  # bytes of UTF-8 that the API takes as a file name
_BLOCK = 1024**2
_ALONE = {str, int, float, bool, type(None)}  # what most inputs are
_HOLDERS = (dict, list, tuple)


class FileInfo(msgspec.Struct, frozen=True):
    """An uploaded file. ``expires_at`` is a Unix time in seconds; None for a file that stays."""

    url: str
    expires_at: float | None = None


class Uploads(Protocol):
    """Uploads of one API. ``sha256`` is of the content, in hex; a suffix follows if only the name tells the type."""

    async def find(self, sha256: str) -> FileInfo | None:
        """An earlier upload of this content, which may have expired; None without one."""

    async def upload(self, path: Path, name: str, media_type: str, sha256: str) -> FileInfo:
        """Send the file. ``find`` knows it from now on."""


class _Content(msgspec.Struct, frozen=True):
    """The part of a file that was read: all of it if it is small enough to inline."""

    size: int
    sha256: str
    head: bytes


async def send_files(
    values: Mapping[str, Any],
    uploads: Uploads,
    *,
    model: str = "the model",
    now: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """A copy of the input in which every ``pathlib.Path`` is a URL; the given input is left as it is.

    A file of up to ``INLINE`` bytes becomes a data URL, which has a media type and no name. One that is larger, or
    whose suffix the media type does not give back (``.npz``, ``.safetensors``), is uploaded, once for each content,
    unless an earlier upload lives for another ``MARGIN``; ``now`` gives Unix time. Types and suffixes are what the
    first bytes say. Raises InputError, before any request, naming every file that cannot be sent (missing, not a file,
    unreadable, larger than ``LARGEST``); and whatever ``uploads`` raises.
    """
    await asyncio.to_thread(check_files, values, model=model)
    found = dict(_paths(dict(values)))
    urls: dict[Path, str] = {}
    sent: dict[str, str] = {}
    for path, where in found.items():
        try:
            content = await asyncio.to_thread(_read, path)
        except OSError as error:
            raise InputError(model, [f"{where}: {path} cannot be read: {error.strerror}"]) from error
        name = file_name(path, content.head)
        kind = media_type(name, content.head)
        if content.size <= INLINE and is_given_back(name):
            urls[path] = data_url.encode(kind, content.head)
            continue
        identity = _identity(content.sha256, name)
        if identity not in sent:
            known = await uploads.find(identity)
            if known is None or (known.expires_at is not None and known.expires_at <= now() + MARGIN):
                known = await uploads.upload(path, name, kind, identity)
            sent[identity] = known.url
        urls[path] = sent[identity]
    return {name: _replace(value, urls) for name, value in values.items()}


def check_files(values: Mapping[str, Any], *, model: str = "the model") -> None:
    """Raise InputError naming every file that cannot be sent: missing, not a file, unreadable, too large."""
    problems = [problem for path, where in _paths(dict(values)) if (problem := _problem(path, where))]
    if problems:
        raise InputError(model, problems)


def has_files(value: Any) -> bool:
    """Whether there is a ``pathlib.Path`` in it."""
    for item in value.values() if isinstance(value, dict) else value:
        if type(item) not in _ALONE and (isinstance(item, Path) or (isinstance(item, _HOLDERS) and has_files(item))):
            return True
    return False


def file_name(path: Path, head: bytes = b"") -> str:
    """The file's own name, as UTF-8 of at most 255 bytes that keeps its suffix, which is what the first bytes say."""
    name = right_name(path.name.encode(errors="replace").decode(), head)
    if len(name.encode()) <= _NAME:
        return name
    suffix = Path(name).suffix.encode()[-20:]
    return name.encode()[: _NAME - len(suffix)].decode(errors="ignore") + suffix.decode(errors="ignore")


def _identity(sha256: str, name: str) -> str:
    return sha256 if is_given_back(name) else sha256 + suffix_of(name)


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
    except OSError as error:
        return f"{where}: {path} cannot be read: {error.strerror}"
    except ValueError:  # a null byte
        return f"{where}: {str(path)!r} is not the name of a file"


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
