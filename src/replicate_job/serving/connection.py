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


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the connection's transport among the ASGI extensions: ``Config(http=…)``."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}


def transport_of(scope: Scope) -> asyncio.Transport:
    """The connection that a request came on. Raises RuntimeError where the server does not tell."""
    try:
        transport: asyncio.Transport = scope["extensions"][_TRANSPORT]["transport"]
    except KeyError:
        raise RuntimeError("faults need a server that runs replicate_job.testing's BreakableProtocol") from None
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
