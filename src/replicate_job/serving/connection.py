"""Lets an ASGI app reset or close the connection of a request."""

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
"""The most bytes of a request's address and headers, or of data that is not HTTP. uvicorn has no such limit."""
MOST_PIPELINED = 100
"""The most pipelined requests of a connection. They wait until an earlier request on the connection is answered."""


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1, which adds the connection's transport to the ASGI extensions. For ``listen``.

    The size of a request's head is limited, and so is the number of requests that a client sends before it gets a
    response. Beyond a limit, the connection is closed.
    """

    _unparsed = 0  # bytes since the parser last reported a complete head or a piece of a body
    _made_progress = True
    _reads_head = True

    def data_received(self, data: bytes) -> None:
        self._made_progress = False
        super().data_received(data)
        self._unparsed = 0 if self._made_progress else self._unparsed + len(data)
        if self._unparsed > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reads_head = True
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reads_head:  # trailers come after the body and are dropped, because headers are checked before
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._made_progress, self._reads_head = True, False
        super().on_headers_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._made_progress = True
        super().on_body(body)


def transport_of(scope: Scope) -> asyncio.Transport:
    """The connection of a request. Raises RuntimeError if the server does not run BreakableProtocol."""
    try:
        transport: asyncio.Transport = scope["extensions"][_TRANSPORT]["transport"]
    except KeyError:
        raise RuntimeError("faults need a server that runs BreakableProtocol") from None
    return transport


async def reset(scope: Scope, receive: Receive) -> None:
    """Reset the connection at once (TCP RST), which drops unsent data, and wait until the connection has ended."""
    transport = transport_of(scope)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await until_disconnected(receive)


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection (TCP FIN) once all data is sent, and wait until the connection has ended."""
    transport_of(scope).close()
    await until_disconnected(receive)


async def until_disconnected(receive: Receive) -> None:
    """Wait until the client's connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass
