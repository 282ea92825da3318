"""Python objects as inputs: bytes, open files, pictures of Pillow.

The libraries are not imported. Their objects are recognised by their methods and the names of their classes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from inspect import iscoroutine, iscoroutinefunction
from typing import Any

from replicate_job.errors import InputError
from replicate_job.inputs.content import LARGEST, Content
from replicate_job.inputs.plain import native
from replicate_job.scalars import OWN

_HOLDERS = (dict, list, tuple)
_BYTES = (bytes, bytearray, memoryview)


class _Unreadable(ValueError):  # noqa: N818 - control flow within this module
    """A file object cannot be read. The message is shown after the input's name."""


def holds(values: Any) -> bool:
    """Whether an input has bytes, open files or pictures, which ``take`` reads. Reading may take a while."""
    try:
        return _holds(values)
    except RecursionError:  # nested too deeply, or a list that contains itself: ``flaws`` reports it
        return False


def _holds(values: Any) -> bool:
    for item in values.values() if isinstance(values, Mapping) else values:
        if type(item) not in OWN and (_holds(item) if isinstance(item, _HOLDERS) else _is_held(item)):
            return True
    return False


def take(values: Mapping[str, Any], model: str = "the model") -> dict[str, Any]:
    """Convert an input at any depth: values to JSON's types (see ``native``), and each file object to a ``Content``.

    A file object is one of these:

    - bytes, a ``bytearray`` or a ``memoryview``;
    - a file that is open for reading bytes, or anything else with a ``read`` that returns them. It is read from its
      beginning, as by the official client, and its position is restored. A file that cannot seek (a pipe, a response of
      a server) is read from its position. Its name is the last part of ``filename`` or ``name``;
    - a picture of Pillow, without EXIF data. A picture that was opened from a JPEG file is written as JPEG with that
      file's quality. Any other picture is written as PNG, which is lossless.

    An object that occurs twice is read one time. Raises an InputError that names every file that cannot be read: a file
    that is closed, is open as text, has more than ``LARGEST`` bytes, or whose ``read`` is a coroutine.
    """
    plain: dict[str, Any] = native(dict(values))
    if not holds(plain):
        return plain
    reader = _Reader()
    try:
        taken = {name: reader.read(value, str(name)) for name, value in plain.items()}
    except RecursionError:
        return plain
    if reader.problems:
        raise InputError(model, reader.problems)
    return taken


class _Reader:
    """Reads the file objects of one input."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._read: dict[int, Content] = {}  # by the object's id, which stays unique while the input holds the object

    def read(self, value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return {name: self.read(item, f"{where}.{name}") for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.read(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return self._read_one(value, where) if type(value) not in OWN and _is_held(value) else value

    def _read_one(self, value: Any, where: str) -> Any:
        if id(value) not in self._read:
            try:
                self._read[id(value)] = _content(value)
            except _Unreadable as problem:
                self.problems.append(f"{where}: {problem}")
                return value
        return self._read[id(value)]


def _is_held(value: Any) -> bool:
    if isinstance(value, _BYTES) or _is_picture(value):
        return True
    return callable(getattr(value, "read", None)) and not isinstance(value, type)


def _is_picture(value: Any) -> bool:
    return any((kind.__module__, kind.__name__) == ("PIL.Image", "Image") for kind in type(value).__mro__)


def _content(value: Any) -> Content:
    """Raises _Unreadable."""
    name = _name(value)
    if isinstance(value, _BYTES):
        data = bytes(value)
    elif _is_picture(value):
        data = _write_picture(value)
    else:
        # FastAPI's UploadFile has an asynchronous read, and the plain file as its attribute ``file``.
        file = value.file if iscoroutinefunction(value.read) and hasattr(value, "file") else value
        data = _read_file(file, name or f"a {type(value).__name__}")
    if len(data) > LARGEST:
        raise _Unreadable(f"{name or 'it'} has more than 100 MB, which the API does not take; give a URL to it instead")
    return Content.of(data, name)


def _name(value: Any) -> str:
    """The file's name without its folder; empty if it has no name, or only a number or ``<stdin>``."""
    for attribute in ("filename", "name"):
        given = getattr(value, attribute, None)
        if isinstance(given, str | bytes | os.PathLike) and given:
            name = os.path.basename(os.fsdecode(given).replace("\\", "/"))  # noqa: PTH119 - the name need not be a path here
            return "" if name.startswith("<") else name
    return ""


def _write_picture(image: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        if image.format == "JPEG":
            image.save(buffer, "JPEG", quality="keep", exif=b"")
        else:
            image.save(buffer, "PNG", exif=b"")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _Unreadable(f'a picture of mode {image.mode} cannot be written ({error}): try .convert("RGB")') from None
    return buffer.getvalue()


def _read_file(file: Any, name: str) -> bytes:
    if isinstance(file, io.TextIOBase):
        raise _Unreadable(f'{name} is open as text: open it in binary mode, open(…, "rb")')
    try:
        place = file.tell() if _can_seek(file) else None
        if place is None:
            return _read_on(file, name)
        file.seek(0)
        try:
            return _read_on(file, name)
        finally:
            file.seek(place)
    except _Unreadable:
        raise
    except io.UnsupportedOperation:
        raise _Unreadable(f"{name} is not open for reading") from None
    except OSError as error:
        raise _Unreadable(f"{name} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # "I/O operation on closed file"
        raise _Unreadable(f"{name} cannot be read: {error}") from None


def _can_seek(file: Any) -> bool:
    if hasattr(file, "seekable"):
        return bool(file.seekable())
    return hasattr(file, "seek") and hasattr(file, "tell")


def _read_on(file: Any, name: str) -> bytes:
    """The rest of the file, up to ``LARGEST`` and one byte. Reads repeatedly, since a read may return less."""
    blocks: list[bytes] = []
    left, is_whole = LARGEST + 1, False
    while left > 0 and not is_whole:
        try:
            block = file.read(left)
        except TypeError:  # a ``read`` without a size, like that of the official client's outputs, returns all bytes
            block, is_whole = file.read(), True
        if isinstance(block, str):
            raise _Unreadable(f"{name} is open as text: open it in binary mode, open(…, 'rb')")
        if not isinstance(block, _BYTES):
            if iscoroutine(block):
                block.close()  # else Python warns that the coroutine was never awaited
            raise _Unreadable(f"{name} gives a {type(block).__name__} when it is read: give the bytes themselves")
        if not block:
            break
        blocks.append(bytes(block))
        left -= len(block)
    return b"".join(blocks)
