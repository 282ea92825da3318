"""A route: one path with a handler for each method, whose errors become the API's answers."""

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
"""Answers a client that closed its connection. It is never read: ASGI wants an answer all the same."""

Thing = TypeVar("Thing")


class Endpoint:
    """An ASGI app of one path: a handler for each method. What a handler raises becomes an answer."""

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
            # The caller must mend a model that cannot be made ready. Clients would send a 5xx again.
            return problem(422, str(error), "The model cannot be run")


def route(pattern: str, **handlers: Callable[[Request], Awaitable[ASGIApp]]) -> Route:
    """``route("/v1/things", get=…, post=…)``."""
    return Route(pattern, Endpoint({method.upper(): handler for method, handler in handlers.items()}))


def or_refuse(thing: Thing | None, refusal: Answer = NOT_FOUND) -> Thing:
    """The thing itself. Raises RefusedError with ``refusal`` for None."""
    if thing is None:
        raise RefusedError(refusal)
    return thing


def origin(request: Request) -> str:
    """The origin by which the client reached this server, without a slash at its end: its ``Host``, not checked."""
    return f"{request.url.scheme}://{request.headers['host']}"
