"""Reading ``POST /v1/files``: one file and what is told about it, as multipart form data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from replicate_job.serving.answer import TOO_LARGE, InvalidField, RefusedError, invalid, problem, required
from replicate_job.serving.body import limited
from replicate_job.wire.media import ESSENCE, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request

LARGEST = 100 * 1024**2
"""Bytes of a file that the API takes."""
_AROUND = 1024**2  # bytes that a form may have besides the file
_LONGEST_NAME = 255  # bytes
_MEDIA_TYPE = re.compile(rf"{ESSENCE}(?:;[ -~]*)?", re.ASCII)


class FileForm(msgspec.Struct, frozen=True):
    """What was posted. ``name`` may be anything that a client wrote: it is no path."""

    content: bytes
    name: str
    content_type: str
    metadata: dict[str, Any]


async def read_upload(request: Request, limit: int = LARGEST) -> FileForm:
    """Raises RefusedError with 400, 413 or 422. Of a form that is too large, no more than ``limit`` or so is read."""
    chunks = limited(request, limit + _AROUND, TOO_LARGE)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RefusedError(problem(400, "A file is sent as multipart/form-data", "Bad request"))
    try:
        form = await _Parser(request.headers, chunks).parse()
    except MultiPartException as error:
        raise RefusedError(problem(400, error.message, "Bad request")) from None
    try:
        return await _read(form, limit)
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Reads a form to its end: without this, one that breaks off would pass for whole."""

    def __init__(self, headers: Headers, chunks: AsyncIterator[bytes]) -> None:
        super().__init__(headers, self._read(chunks))
        self._ended = False

    def on_end(self) -> None:
        self._ended = True

    async def _read(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield chunk
        if not self._ended:
            raise MultiPartException("The form breaks off.")


async def _read(form: FormData, limit: int) -> FileForm:
    content = form.get("content")
    if not isinstance(content, UploadFile):
        raise RefusedError(invalid(required("content", "content")))
    if (content.size or 0) > limit:
        raise RefusedError(TOO_LARGE)
    name = await _text(form, "filename") or (content.filename or "").encode("utf-8", "replace")
    if len(name) > _LONGEST_NAME:
        description = f"String length must be less than or equal to {_LONGEST_NAME}"
        raise RefusedError(invalid(InvalidField("string_lte", "filename", description)))
    metadata = _metadata(await _text(form, "metadata"))
    kind = (await _text(form, "type")).decode("latin-1") or content.content_type or ""
    if not _MEDIA_TYPE.fullmatch(kind):
        kind = UNKNOWN
    return FileForm(await content.read(), name.decode("utf-8", "replace"), kind, metadata)


async def _text(form: FormData, name: str) -> bytes:
    """A field of the form, which some clients send as a file."""
    given = form.get(name, "")
    return await given.read() if isinstance(given, UploadFile) else given.encode("utf-8", "replace")


def _metadata(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        description = "Invalid type. Expected: object"
        raise RefusedError(invalid(InvalidField("invalid_type", "metadata", description))) from None
