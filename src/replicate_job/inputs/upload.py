"""Replaces the files of an input by URLs that a model can read."""

from __future__ import annotations

import asyncio
import hashlib
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from replicate_job.errors import InputError
from replicate_job.inputs.content import LARGEST, Content, file_name
from replicate_job.scalars import OWN
from replicate_job.wire import data_url
from replicate_job.wire.media import is_given_back, media_type, suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

INLINE = 256_000
"""The most bytes of a file that is sent as a data URL. The API's limit is "256 kB", read here as 256,000 bytes. A file
between 256,000 bytes and 256 KiB is uploaded, which always works."""

MARGIN = 15 * 60
"""An upload is used again only if it exists for this many more seconds, since a job may queue before it reads its
files."""

_BLOCK = 1024**2
_HOLDERS = (dict, list, tuple)
_FILES = (Path, Content)


class FileInfo(msgspec.Struct, frozen=True):
    """An uploaded file. ``expires_at`` is a Unix time in seconds; None for a file that never expires."""

    url: str
    expires_at: float | None = None


class Uploads(Protocol):
    """Uploads of one API. ``sha256`` is the content's hash in hex.

    The file's suffix is appended to the hash if the suffix does not follow from the media type.
    """

    def one_at_a_time(self, sha256: str) -> AbstractAsyncContextManager[object]:
        """Wait until no other job uploads this content. Then ``find`` returns that job's upload."""

    async def find(self, sha256: str) -> FileInfo | None:
        """An earlier upload of this content, which may have expired; None without an earlier upload."""

    async def upload(self, source: Path | bytes, name: str, media_type: str, sha256: str) -> FileInfo:
        """Upload the file. ``find`` returns it from now on."""

    async def read(self, content: Content) -> bytes | None:
        """The bytes of a content whose ``data`` is None. Returns None if the bytes are lost."""


async def send_files(
    values: Mapping[str, Any],
    uploads: Uploads,
    *,
    model: str = "the model",
    now: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """A copy of the input in which a URL replaces every ``pathlib.Path`` and ``Content``.

    A file of up to ``INLINE`` bytes becomes a data URL, which has a media type and no name. A larger file is uploaded,
    and so is a file whose suffix does not follow from its media type (``.npz``, ``.safetensors``). Each content is
    uploaded one time, or never if an earlier upload exists for ``MARGIN`` more seconds. ``now`` returns Unix time.
    Types and suffixes follow from the first bytes. Raises InputError before any request, naming every file that cannot
    be sent (missing, not a file, unreadable, larger than ``LARGEST``). Raises InputError also for a content whose bytes
    are lost and whose upload has expired. Errors of ``uploads`` pass through.
    """
    await asyncio.to_thread(check_files, values, model=model)
    urls: dict[object, str] = {}
    sent: dict[str, str] = {}
    for file, where in _files(dict(values)):
        if _key(file) in urls:
            continue
        try:
            content = file if isinstance(file, Content) else await asyncio.to_thread(_read, file)
        except OSError as error:
            raise InputError(model, [f"{where}: {file} cannot be read: {error.strerror}"]) from error
        if is_given_back(content.name) and content.size <= INLINE:
            data = await uploads.read(content) if content.data is None else content.data
            if data is not None:
                urls[_key(file)] = data_url.encode(content.media_type, data)
                continue
        identity = _identity(content)
        if identity not in sent:
            source = file if isinstance(file, Path) else content.data
            url = await _upload_once(content, source, uploads, until=now() + MARGIN)
            if url is None:
                raise InputError(model, [f"{where}: {content.name} {_GONE}"])
            sent[identity] = url
        urls[_key(file)] = sent[identity]
    return {name: _replace(value, urls) for name, value in values.items()}


async def _upload_once(content: Content, source: Path | bytes | None, uploads: Uploads, *, until: float) -> str | None:
    """The URL of an upload that exists until the Unix time ``until``; None without such an upload or a ``source``."""
    identity = _identity(content)
    async with uploads.one_at_a_time(identity):
        info = await uploads.find(identity)
        if info and (info.expires_at is None or info.expires_at > until):
            return info.url
        source = await uploads.read(content) if source is None else source
        if source is None:
            return None
        return (await uploads.upload(source, content.name, content.media_type, identity)).url


_GONE = (
    "was in the memory of a program that ended before it was sent, and the journal stores no files: run the job again, "
    "with the same key and file"
)


def check_files(values: Mapping[str, Any], *, model: str = "the model") -> None:
    """Raise InputError naming every path that cannot be sent: missing, not a file, unreadable, too large."""
    values = dict(values)
    files = _files(values) if has_files(values) else ()
    problems = [problem for file, where in files if isinstance(file, Path) and (problem := _problem(file, where))]
    if problems:
        raise InputError(model, problems)


def has_files(value: Any) -> bool:
    """Whether the value holds a ``pathlib.Path`` or a ``Content``, at any depth."""
    for item in value.values() if isinstance(value, dict) else value:
        if type(item) not in OWN and (isinstance(item, _FILES) or (isinstance(item, _HOLDERS) and has_files(item))):
            return True
    return False


def by_content(values: Mapping[str, Any], known: dict[tuple[str, int, int], Content]) -> dict[str, Any]:
    """A copy of an input in which a ``Content`` without bytes replaces every file. Copies of equal files are equal.

    ``known`` is a cache: it maps a file's path, size and time of change (ns) to its ``Content``. Blocks while it reads.
    Raises OSError.
    """
    contents: dict[object, Any] = {}
    for file, _ in _files(dict(values)):
        if _key(file) in contents:
            continue
        content = file if isinstance(file, Content) else _read_once(file, known)
        contents[_key(file)] = Content(content.name, content.media_type, content.size, _identity(content))
    return {name: _replace(value, contents) for name, value in values.items()}


def without_bytes(
    values: Mapping[str, Any], known: dict[tuple[str, int, int], Content]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """A copy of an input in which a ``Content`` without bytes replaces every file, and the files' paths by SHA-256.

    ``known`` is the same cache as in ``by_content``. Blocks while it reads. Raises OSError.
    """
    found: dict[object, Content] = {}
    paths: dict[str, Path] = {}
    for file, _ in _files(dict(values)):
        content = file if isinstance(file, Content) else _read_once(file, known)
        if isinstance(file, Path):
            paths[content.sha256] = file
        found[_key(file)] = Content(content.name, content.media_type, content.size, content.sha256)
    return {name: _replace(value, found) for name, value in values.items()}, paths


def _read_once(path: Path, known: dict[tuple[str, int, int], Content]) -> Content:
    status = path.stat()
    place = str(path), status.st_size, status.st_mtime_ns
    if place not in known:
        read = _read(path)
        known[place] = Content(read.name, read.media_type, read.size, read.sha256)
    return known[place]


def _identity(content: Content) -> str:
    return content.sha256 if is_given_back(content.name) else content.sha256 + suffix_of(content.name)


def _files(value: Any, where: str = "") -> Iterator[tuple[Path | Content, str]]:
    """Every file in an input, each with its place, like ``images[1]``."""
    match value:
        case Path() | Content():
            yield value, where
        case dict():
            for name, item in value.items():
                yield from _files(item, f"{where}.{name}" if where else str(name))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _files(item, f"{where}[{index}]")


def _key(file: Path | Content) -> object:
    """A key that is equal for files that are sent as the same URL.

    It contains a content's name, which may change the type.
    """
    return (file.sha256, file.name) if isinstance(file, Content) else file


def _replace(value: Any, urls: Mapping[object, Any]) -> Any:
    match value:
        case Path() | Content():
            return urls[_key(value)]
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


def _read(path: Path) -> Content:
    """Read the file in one pass, so that size and hash are of the same content. Keeps ``data`` for a data URL."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        head = file.read(INLINE + 1)
        block = head
        while block:
            digest.update(block)
            size += len(block)
            block = file.read(_BLOCK)
    name = file_name(path.name, head)
    return Content(name, media_type(name, head), size, digest.hexdigest(), head if size <= INLINE else None)
