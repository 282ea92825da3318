"""Faults acted out around any ASGI app, by the connection itself where that is what breaks."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Protocol

from replicate_job.serving.answer import Answer, problem
from replicate_job.serving.connection import gone, hang_up, reset
from replicate_job.serving.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from replicate_job.serving.faults import Faults

HEADER = "X-Replicate-Job-Fault"
"""The request header that names a fault for that request alone."""
_HEADER = HEADER.lower().encode()
_PREDICTIONS = re.compile(r"/v1/(?:(?:models|deployments)/[^/]+/[^/]+/)?predictions/?")
_PREDICTION = re.compile(r"/v1/predictions/[^/]+(?P<cancel>/cancel)?")
_OTHERS = re.compile(
    r"/(?:v1/(?P<model>models|deployments)|v1/(?P<file>files)|(?P<stream>stream)|(?P<download>outputs|files))(?:/.*)?"
)


class FaultNote(Protocol):
    """A note of the request, which an app around the middleware may leave in the scope as ``replicate_job.request``."""

    operation: str
    fault: str


def operation(scope: Scope) -> str:
    """The word of the fault language for a request to Replicate's API, by method and path."""
    method, path = scope["method"], scope["path"]
    if _PREDICTIONS.fullmatch(path):
        return "create" if method == "POST" else "list"
    if found := _PREDICTION.fullmatch(path):
        return "cancel" if found["cancel"] else "get"
    found = _OTHERS.fullmatch(path)
    return (found and found.lastgroup) or "other"


class FaultMiddleware:
    """``app`` with ``faults``. It must be served by ``BreakableProtocol``, or another that exposes the transport.

    A request's own header ``X-Replicate-Job-Fault`` comes before them; one that names no fault is answered 400.
    A request done before its fault strikes is done without ``Prefer``, so that a connection can die right after
    a prediction was created and not only after the hold. What struck is noted in a ``FaultNote``.
    """

    def __init__(self, app: ASGIApp, faults: Faults, classify: Callable[[Scope], str] = operation) -> None:
        self.app, self.faults, self.classify = app, faults, classify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        recorded: FaultNote | None = scope.get("replicate_job.request")
        fault = _asked(scope)
        if fault is None:
            fault = self.faults.draw(recorded.operation if recorded else self.classify(scope), time.monotonic())
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        if fault is None:
            await self.app(scope, receive, send)
            return
        if recorded:
            recorded.fault = fault.name
        done = await _Response.of(self.app, scope, receive) if fault.after else None
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
        await self._strike(fault, done, scope, receive, send)

    async def _strike(self, fault: Fault, done: _Response | None, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.action:
            case "drop":
                await reset(scope, receive)
            case "close":
                await hang_up(scope, receive)
            case "hang":
                await gone(receive)
            case "answer":
                await (fault.answer or Answer(500))(scope, receive, send)
            case "slow":
                await (done.send(send) if done else self.app(scope, receive, send))
            case "half" if done:
                await done.send(send, body=done.body[: len(done.body) // 2])
            case "truncate" if done:
                await send(done.start(len(done.body)))
                await send({"type": "http.response.body", "body": done.body[: len(done.body) // 2], "more_body": True})
                await hang_up(scope, receive)


def _asked(scope: Scope) -> Fault | None:
    """The fault that the request itself asks for."""
    for name, value in scope["headers"]:
        if name == _HEADER:
            try:
                return Fault.parse(value.decode("latin-1").strip())
            except ValueError as error:
                return Fault.answering(problem(400, f"{HEADER}: {error}", "Bad request"))
    return None


class _Response:
    """A whole response of an app, kept back."""

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

        at_once = [(name, value) for name, value in scope["headers"] if name != b"prefer"]
        await app({**scope, "headers": at_once}, receive, keep)
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
