"""Limits for a server's connections: their number, and how long each may wait for its client."""

from __future__ import annotations

import asyncio
from enum import Enum

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from replicate_job.open_files import open_files

MOST = 4096
"""The most open connections. It is lower if the process may open fewer than twice as many files."""


class Limits(msgspec.Struct, frozen=True):
    """How many seconds a client may keep a connection waiting, and the ``most`` open connections.

    ``head``: until the head of a request is complete. ``body``: until more of a request's body comes. ``reading``:
    until the client takes more of a response. ``kept``: between two requests. If there is no room for a new connection,
    the connection that has waited longest for a request is closed.
    """

    head: float = 10
    body: float = 60
    reading: float = 60
    kept: float = 3600
    most: int = 0


class _Wait(Enum):
    """The client's action that a connection waits for. None while its request is processed."""

    HEAD = "head"
    BODY = "body"
    READING = "reading"
    KEPT = "kept"


class Waiting:
    """The connections that wait for their clients, by the kind of wait, longest wait first."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._loop = limits, asyncio.get_running_loop()
        self.most = limits.most or min(MOST, (open_files() or 2 * MOST) // 2)
        self.together = max(16, self.most // 4)
        """The most connections that may be accepted before one of them can be closed."""
        self._since: dict[_Wait, dict[HttpToolsProtocol, float]] = {kind: {} for kind in _Wait}

    def note(self, connection: HttpToolsProtocol, kind: _Wait | None) -> None:
        """Record what a connection waits for from now on. ``kind`` is None if it does not wait."""
        for waiting in self._since.values():
            waiting.pop(connection, None)
        if kind:
            self._since[kind][connection] = self._loop.time()

    def make_room(self) -> bool:
        """Close the connection that has waited longest; one without a request first. False if no connection waits."""
        for kind in (_Wait.HEAD, _Wait.KEPT, _Wait.BODY, _Wait.READING):
            if oldest := next(iter(self._since[kind]), None):
                self._break(oldest)
                return True
        return False

    async def sweep(self) -> None:
        """Close connections that have waited too long, until cancelled."""
        limits = {kind: getattr(self._limits, kind.value) for kind in _Wait}
        while True:
            await asyncio.sleep(min(1, *(limit / 4 for limit in limits.values())))
            now = self._loop.time()
            for kind, limit in limits.items():
                for connection, since in list(self._since[kind].items()):
                    if now - since < limit:
                        break
                    if kind is _Wait.BODY and connection.flow.read_paused:  # the app is slow, and not the client
                        self.note(connection, kind)
                    else:
                        self._break(connection)

    def _break(self, connection: HttpToolsProtocol) -> None:
        self.note(connection, None)
        connection.transport.abort()


class Watched(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, which notes in ``waiting`` when a connection waits for its client."""

    waiting: Waiting
    _begun = False  # the head of a request is being received
    _kind: _Wait | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        super().connection_made(transport)
        if len(self.connections) > self.waiting.most and not self.waiting.make_room():
            transport.abort()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.note(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._begun = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._note()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note()

    def _note(self) -> None:
        kind = None if self.transport.is_closing() else self._waits()
        if kind is not self._kind or kind is _Wait.BODY:  # each part of a body starts a new wait
            self._kind = kind
            self.waiting.note(self, kind)

    def _waits(self) -> _Wait | None:
        if self.cycle is None:
            return _Wait.HEAD
        if self.flow.write_paused:
            return _Wait.READING
        if self.cycle.response_complete:
            return _Wait.HEAD if self._begun else _Wait.KEPT
        return _Wait.BODY if self.cycle.more_body else None
