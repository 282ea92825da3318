"""Faults acted out around any ASGI app, by the connection itself where that is what breaks."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from replicate_job.testing.answers import Answer
from replicate_job.testing.server import gone, hang_up, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from replicate_job.testing.faults import Fault, Faults
    from replicate_job.testing.record import Request

_PREDICTIONS = re.compile(r"/v1/(?:(?:models|deployments)/[^/]+/[^/]+/)?predictions/?")
_PREDICTION = re.compile(r"/v1/predictions/[^/]+(?P<cancel>/cancel)?")


def operation(scope: Scope) -> str:
    """The word of the fault language for a request to Replicate's API, by method and path."""
    method, path = scope["method"], scope["path"]
    if _PREDICTIONS.fullmatch(path):
        return "create" if method == "POST" else "list"
    if found := _PREDICTION.fullmatch(path):
        return "cancel" if found["cancel"] else "get"
    words = {"/v1/models/": "model", "/v1/deployments/": "model", "/v1/files": "file"}
    return next((word for prefix, word in words.items() if path.startswith(prefix)), "other")


class FaultMiddleware:
    """``app`` with ``faults``. It must be served by ``BreakableProtocol``, or another that exposes the transport.

    A request done before its fault strikes is done without ``Prefer``, so that a connection can die right after
    a prediction was created and not only after the hold. A ``Recorder`` around it learns what struck.
    """

    def __init__(self, app: ASGIApp, faults: Faults, classify: Callable[[Scope], str] = operation) -> None:
        self.app, self.faults, self.classify = app, faults, classify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request: Request | None = scope.get("replicate_job.request")
        fault = self.faults.draw(request.operation if request else self.classify(scope), time.monotonic())
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        if fault is None:
            await self.app(scope, receive, send)
            return
        if request:
            request.fault = fault.name
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
