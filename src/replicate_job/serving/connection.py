"""Connections that an app can break."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from starlette.types import Receive, Scope

_TRANSPORT = "replicate_job.transport"

LARGEST_HEAD = 128 * 1024
"""Bytes of a request's address and headers, or of anything else that leads to no request: uvicorn has no limit."""
MOST_WAITING = 100
"""Requests of one connection that wait for the answer to one before them."""


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the connection's transport among the ASGI extensions, for ``listen``.

    What a client sends before a request is there, and how many it sends before it reads an answer, has limits: beyond
    them the connection ends.
    """

    _idle = 0  # bytes since the parser last found something
    _found = True
    _reads_head = True

    def data_received(self, data: bytes) -> None:
        self._found = False
        super().data_received(data)
        self._idle = 0 if self._found else self._idle + len(data)
        if self._idle > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reads_head = True
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reads_head:  # trailers are no headers: whoever checked those would not see them
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._found, self._reads_head = True, False
        super().on_headers_complete()
        if len(self.pipeline) > MOST_WAITING:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._found = True
        super().on_body(body)


def transport_of(scope: Scope) -> asyncio.Transport:
    """The connection that a request came on. Raises RuntimeError where the server does not tell."""
    try:
        transport: asyncio.Transport = scope["extensions"][_TRANSPORT]["transport"]
    except KeyError:
        raise RuntimeError("faults need a server that runs BreakableProtocol") from None
    return transport


async def reset(scope: Scope, receive: Receive) -> None:
    """Break the connection at once (TCP RST), losing what was not yet sent, and wait until it is gone."""
    transport = transport_of(scope)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await gone(receive)


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection (TCP FIN) once what was written is sent, and wait until it is gone."""
    transport_of(scope).close()
    await gone(receive)


async def gone(receive: Receive) -> None:
    """Wait until the client's connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass
