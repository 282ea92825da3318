"""Reads the body of a request, within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.decoding import decode
from replicate_job.serving.answer import Answer, RefusedError, problem
from replicate_job.wire.bounds import is_heavy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

LARGEST_BODY = 100 * 1024 * 1024
"""The most bytes of a JSON body, as in a Cog server."""
_TOO_LARGE = problem(413, f"The request body must be at most {LARGEST_BODY // 2**20} MB", "Content too large")
_SPARE_CALLS = 30
"""Stack frames that are kept free while a body is decoded, because it is encoded again later from a deeper stack."""


async def read_bytes(request: Request) -> bytes:
    """The whole body. Raises RefusedError (413) beyond the limit, without reading on."""
    body = bytearray()
    async for chunk in limited(request, LARGEST_BODY, _TOO_LARGE):
        body += chunk
    return bytes(body)


def limited(request: Request, limit: int, refusal: Answer) -> AsyncIterator[bytes]:
    """The body in chunks. Raises RefusedError with ``refusal`` beyond ``limit`` bytes.

    If ``Content-Length`` is beyond the limit, the error is raised before anything is read.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise RefusedError(refusal)
    return _counted(request.stream(), limit, refusal)


async def _counted(chunks: AsyncIterator[bytes], limit: int, refusal: Answer) -> AsyncIterator[bytes]:
    read = 0
    async for chunk in chunks:
        read += len(chunk)
        if read > limit:
            raise RefusedError(refusal)
        yield chunk


def read_object(body: bytes) -> dict[str, Any]:
    """Decode a body as a JSON object. Raises RefusedError, also if the values would need too much memory."""
    if is_heavy(body):
        raise RefusedError(_TOO_LARGE)
    try:
        return _decode(body, _SPARE_CALLS)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(problem(400, f"The request body is not a JSON object: {error}", "Invalid JSON")) from None


def _decode(body: bytes, spare_calls: int) -> dict[str, Any]:
    return _decode(body, spare_calls - 1) if spare_calls else decode(body, dict[str, Any])
