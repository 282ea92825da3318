"""Reads the body of ``POST /v1/files``: one file with its name, type and metadata, as multipart form data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from replicate_job.decoding import decode
from replicate_job.serving.answer import TOO_LARGE, InvalidField, RefusedError, invalid, problem, required
from replicate_job.serving.body import limited
from replicate_job.wire.media import ESSENCE, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request

LARGEST = 100 * 1024**2
"""The most bytes of a file that the API accepts."""
_FORM_OVERHEAD = 1024**2  # bytes that a form may have besides the file
_LONGEST_NAME = 255  # bytes
_MEDIA_TYPE = re.compile(rf"{ESSENCE}(?:;[ -~]*)?", re.ASCII)


class FileForm(msgspec.Struct, frozen=True):
    """An uploaded file. ``name`` is not checked: it must not be used as a path."""

    content: bytes
    name: str
    content_type: str
    metadata: dict[str, Any]


async def read_upload(request: Request, limit: int = LARGEST) -> FileForm:
    """Read an uploaded file. Raises RefusedError with 400, 413 or 422.

    If the form is too large, at most a megabyte more than ``limit`` is read.
    """
    chunks = limited(request, limit + _FORM_OVERHEAD, TOO_LARGE)
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
    """Starlette's parser, which also refuses a form that breaks off before its end."""

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
    """A text field of the form. Some clients send it as a file."""
    field = form.get(name, "")
    return await field.read() if isinstance(field, UploadFile) else field.encode("utf-8", "replace")


def _metadata(text: bytes) -> dict[str, Any]:
    try:
        return decode(text or b"{}", dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        description = "Invalid type. Expected: object"
        raise RefusedError(invalid(InvalidField("invalid_type", "metadata", description))) from None
