"""What all endpoints share: their methods and refusals, and the reading of a request."""

from __future__ import annotations

import sqlite3
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

from replicate_job.errors import LocalError
from replicate_job.serving.answer import NOT_FOUND, Answer, RefusedError, problem
from replicate_job.wire.bounds import is_heavy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

LARGEST_BODY = 100 * 1024 * 1024
"""Bytes of a JSON body: what a Cog server takes."""
_TOO_LARGE = problem(413, f"The request body must be at most {LARGEST_BODY // 2**20} MB", "Content too large")
_ROOM = 30
"""Calls: what could just be read is written where the stack is deeper."""
_NOTHING = Answer(204)
"""To a client that has gone: nobody reads it."""

Thing = TypeVar("Thing")


class Endpoint:
    """An ASGI app of one path: a handler a method, with what they refuse as an answer too."""

    def __init__(self, handlers: dict[str, Callable[[Request], Awaitable[ASGIApp]]]) -> None:
        self._handlers = handlers
        self._allowed = ", ".join(sorted(handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await (await self._answer(method, Request(scope, receive)))(scope, receive, send)

    async def _answer(self, method: str, request: Request) -> ASGIApp:
        if method not in self._handlers:
            refused = problem(HTTPStatus.METHOD_NOT_ALLOWED, f'Method "{method}" not allowed.')
            return msgspec.structs.replace(refused, headers=(("allow", self._allowed),))
        try:
            return await self._handlers[method](request)
        except RefusedError as refused:
            return refused.answer
        except ClientDisconnect:
            return _NOTHING
        except (OSError, sqlite3.Error) as error:
            return problem(500, f"The server's state cannot be read or written: {error}", "Internal server error")
        except LocalError as error:
            # A model that cannot be made ready is the caller's to mend: a 5xx would read as "try again".
            return problem(422, str(error), "The model cannot be run")


def path(pattern: str, **handlers: Callable[[Request], Awaitable[ASGIApp]]) -> Route:
    """``path("/v1/things", get=…, post=…)``."""
    return Route(pattern, Endpoint({method.upper(): handler for method, handler in handlers.items()}))


def found(thing: Thing | None, missing: Answer = NOT_FOUND) -> Thing:
    """Raises RefusedError with ``missing`` for None."""
    if thing is None:
        raise RefusedError(missing)
    return thing


def origin(request: Request) -> str:
    """Where the client reached this server, without a slash at its end. Whether the name is its own is not asked."""
    return f"{request.url.scheme}://{request.headers['host']}"


async def read_bytes(request: Request) -> bytes:
    """The whole body. Raises RefusedError (413) beyond the limit, without reading on."""
    body = bytearray()
    async for chunk in limited(request, LARGEST_BODY, _TOO_LARGE):
        body += chunk
    return bytes(body)


def limited(request: Request, most: int, refused: Answer) -> AsyncIterator[bytes]:
    """The body as it comes. Raises RefusedError with ``refused`` beyond ``most`` bytes, at once if a header tells."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise RefusedError(refused)
    return _counted(request.stream(), most, refused)


async def _counted(chunks: AsyncIterator[bytes], most: int, refused: Answer) -> AsyncIterator[bytes]:
    read = 0
    async for chunk in chunks:
        read += len(chunk)
        if read > most:
            raise RefusedError(refused)
        yield chunk


def read_object(body: bytes) -> dict[str, Any]:
    """A body as a JSON object. Raises RefusedError, also where its values would fill the memory."""
    if is_heavy(body):
        raise RefusedError(_TOO_LARGE)
    try:
        return _decode(body, _ROOM)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(problem(400, f"The request body is not a JSON object: {error}", "Invalid JSON")) from None


def _decode(body: bytes, room: int) -> dict[str, Any]:
    return _decode(body, room - 1) if room else msgspec.json.decode(body, type=dict[str, Any])
