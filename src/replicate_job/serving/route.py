"""A route: one path with a handler for each method. Errors of the handlers become the API's error responses."""

from __future__ import annotations

import sqlite3
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

from replicate_job.errors import LocalError
from replicate_job.serving.answer import NOT_FOUND, Answer, RefusedError, problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

_CLIENT_GONE = Answer(204)
"""The answer for a client that closed its connection. It is never read, but an ASGI app must send one."""

Thing = TypeVar("Thing")


class Endpoint:
    """The ASGI app of one path, with a handler for each method. An exception of a handler becomes an error response."""

    def __init__(self, handlers: dict[str, Callable[[Request], Awaitable[ASGIApp]]]) -> None:
        self._handlers = handlers
        self._allowed = ", ".join(sorted(handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # HTTP servers leave the body out of an answer to HEAD by themselves.
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
            return _CLIENT_GONE
        except (OSError, sqlite3.Error) as error:
            return problem(500, f"The server's state cannot be read or written: {error}", "Internal server error")
        except LocalError as error:
            # Not 5xx, because clients would retry it, and only the caller can mend a model that cannot be prepared.
            return problem(422, str(error), "The model cannot be run")


def route(pattern: str, **handlers: Callable[[Request], Awaitable[ASGIApp]]) -> Route:
    """The Starlette route of a path, with a handler for each method: ``route("/v1/things", get=…, post=…)``."""
    return Route(pattern, Endpoint({method.upper(): handler for method, handler in handlers.items()}))


def or_refuse(thing: Thing | None, refusal: Answer = NOT_FOUND) -> Thing:
    """The thing itself. Raises RefusedError with ``refusal`` for None."""
    if thing is None:
        raise RefusedError(refusal)
    return thing


def origin(request: Request) -> str:
    """The origin by which the client reached this server, without a slash at its end. ``Host`` is not checked here."""
    return f"{request.url.scheme}://{request.headers['host']}"
