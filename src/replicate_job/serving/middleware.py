"""Injects faults into the requests to an ASGI app. Faults such as ``drop`` act on the connection itself."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Protocol

from replicate_job.serving.answer import Answer, problem
from replicate_job.serving.connection import hang_up, reset, until_disconnected
from replicate_job.serving.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from replicate_job.serving.faults import Faults

HEADER = "X-Replicate-Job-Fault"
"""The request header that names a fault for that request alone."""
_HEADER = HEADER.lower().encode()
_PREDICTIONS = re.compile(
    r"/v1/(?:(?:(?:models|deployments)/[^/]+/[^/]+/)?predictions|(?:models/[^/]+/[^/]+/versions/[^/]+/)?trainings)/?"
)
_PREDICTION = re.compile(r"/v1/(?:predictions|trainings)/[^/]+(?P<cancel>/cancel)?")
_OTHERS = re.compile(
    r"/(?:v1/(?P<model>models|deployments)|v1/(?P<file>files)|(?P<stream>stream)|(?P<download>outputs|files))(?:/.*)?"
)


class FaultNote(Protocol):
    """A note about a request, in which the middleware stores the request's fault.

    An app around the middleware may put a note into the ASGI scope as ``replicate_job.request``. The middleware then
    takes the operation from the note.
    """

    operation: str
    fault: str


def operation(scope: Scope) -> str:
    """The operation, in the fault language, of a request to Replicate's API."""
    method, path = scope["method"], scope["path"]
    if _PREDICTIONS.fullmatch(path):
        return "create" if method == "POST" else "list"
    if prediction := _PREDICTION.fullmatch(path):
        return "cancel" if prediction["cancel"] else "get"
    match = _OTHERS.fullmatch(path)
    return (match and match.lastgroup) or "other"


class FaultMiddleware:
    """An ASGI app that injects ``faults`` into requests to ``app``. ``BreakableProtocol`` must serve it.

    The header ``X-Replicate-Job-Fault`` of a request replaces ``faults`` for that request; an invalid value is answered
    400. A request with a fault ``-after`` is carried out without its header ``Prefer``: so the connection breaks right
    after the prediction was created, and not after the blocking wait. The fault's name is stored in the request's
    ``FaultNote``.
    """

    def __init__(self, app: ASGIApp, faults: Faults, classify: Callable[[Scope], str] = operation) -> None:
        self.app, self.faults, self.classify = app, faults, classify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        note: FaultNote | None = scope.get("replicate_job.request")
        fault = _requested_fault(scope)
        if fault is None:
            fault = self.faults.draw(note.operation if note else self.classify(scope), time.monotonic())
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        if fault is None:
            await self._answer(scope, receive, send)
            return
        if note:
            note.fault = fault.name
        response = await _Response.of(self._answer, scope, receive) if fault.after else None
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
        await self._strike(fault, response, scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the app's response, with rate-limit headers if the request is for the API."""
        headers = self.faults.allowance(self.classify(scope)) if scope["path"].startswith("/v1/") else ()

        async def send_with_allowance(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in headers]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, send_with_allowance if headers else send)

    async def _strike(
        self, fault: Fault, response: _Response | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Carry out the fault. ``response`` is the app's response if the fault is ``-after``, else None."""
        match fault.action:
            case "drop":
                await reset(scope, receive)
            case "close":
                await hang_up(scope, receive)
            case "hang":
                await until_disconnected(receive)
            case "answer":
                await (fault.answer or Answer(500))(scope, receive, send)
            case "slow":
                await (response.send(send) if response else self._answer(scope, receive, send))
            case "half" if response:
                await response.send(send, body=response.body[: len(response.body) // 2])
            case "truncate" if response:
                half = response.body[: len(response.body) // 2]
                await send(response.start(len(response.body)))
                await send({"type": "http.response.body", "body": half, "more_body": True})
                await hang_up(scope, receive)  # else the client would wait for the other half


def _requested_fault(scope: Scope) -> Fault | None:
    """The fault that the request's own header names; None without the header."""
    for name, value in scope["headers"]:
        if name == _HEADER:
            try:
                return Fault.parse(value.decode("latin-1").strip())
            except ValueError as error:
                return Fault.answering(problem(400, f"{HEADER}: {error}", "Bad request"))
    return None


class _Response:
    """A complete response of an app, which is not sent yet."""

    def __init__(self) -> None:
        self.body = b""
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []

    @classmethod
    async def of(cls, app: ASGIApp, scope: Scope, receive: Receive) -> _Response:
        response, body = cls(), bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                response._status, response._headers = message["status"], list(message["headers"])
            else:
                body.extend(message.get("body", b""))

        without_prefer = [(name, value) for name, value in scope["headers"] if name != b"prefer"]
        await app({**scope, "headers": without_prefer}, receive, keep)
        response.body = bytes(body)
        return response

    def start(self, length: int) -> Message:
        headers = [(name, value) for name, value in self._headers if name != b"content-length"]
        headers.append((b"content-length", str(length).encode()))
        return {"type": "http.response.start", "status": self._status, "headers": headers}

    async def send(self, send: Send, *, body: bytes | None = None) -> None:
        content = self.body if body is None else body
        await send(self.start(len(content)))
        await send({"type": "http.response.body", "body": content})
