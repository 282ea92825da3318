"""A client of Cog's server (coglet): HTTP on loopback, with a new connection for each request.

It uses no HTTP library, for two reasons. An event stream on a reused connection takes 44 ms longer. And coglet cancels
a prediction whose stream is read more slowly than the model prints: here the event loop reads in large pieces, far
ahead of the code that processes the messages. The requests are HTTP/1.0, so that a response is plain bytes up to the
end of the connection.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

_READ_AHEAD = 32 * 2**20  # bytes that are read before they are needed
_PIECE = 2**18  # bytes of one read

Message = tuple[str, dict[str, Any]]
"""An event of a stream: its type and its data."""


class CogletResponse:
    def __init__(self, status: int, reader: asyncio.StreamReader) -> None:
        self.status, self._reader = status, reader

    async def read(self) -> bytes:
        return await self._reader.read()

    async def messages(self) -> AsyncGenerator[Message]:
        """The messages of an event stream as they arrive."""
        parser = MessageParser()
        while piece := await self._reader.read(_PIECE):
            for message in parser.feed(piece):
                yield message
            # ``read`` does not wait while the buffer has bytes. This lets the loop fill the buffer in between.
            await asyncio.sleep(0)


class MessageParser:
    """Parses coglet's event streams: ``event: TYPE``, ``data: JSON`` on one line, and an empty line.

    The bytes may come in pieces of any size.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> list[Message]:
        self._pieces.append(piece)
        # Pieces are joined once for each message: joining at every piece would take quadratic time.
        if b"\n" not in piece:
            return []
        *complete, rest = b"".join(self._pieces).split(b"\n\n")
        self._pieces = [rest] if rest else []
        return [message for lines in complete if (message := _message(lines))]


class ServerAddress(msgspec.Struct, frozen=True):
    """Where a Cog server listens on this machine's loopback network."""

    host: str
    port: int

    @classmethod
    def free(cls) -> ServerAddress:
        """An address with a free port. On Linux, its host is one of 16 million random loopback hosts.

        A Cog server needs no token, so it would answer a web page in a browser on this machine that guesses its
        address. Other systems have only 127.0.0.1.
        """
        numbers = [secrets.randbelow(254) + 1 for _ in range(3)] if sys.platform == "linux" else [0, 0, 1]
        host = ".".join(map(str, (127, *numbers)))
        with socket.socket() as probe:
            probe.bind((host, 0))
            return cls(host, int(probe.getsockname()[1]))


@asynccontextmanager
async def call(
    address: ServerAddress, method: str, path: str, body: bytes = b"", accept: str = "*/*"
) -> AsyncIterator[CogletResponse]:
    """Send a request to a Cog server. Raises OSError, also for a response that breaks off."""
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=_READ_AHEAD)
    try:
        head = f"{method} {path} HTTP/1.0\r\nhost: {address.host}:{address.port}\r\naccept: {accept}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        try:
            lines = await reader.readuntil(b"\r\n\r\n")
            status = int(lines.split(maxsplit=2)[1])
        except (asyncio.IncompleteReadError, IndexError, ValueError) as error:
            raise ConnectionError("no answer") from error
        yield CogletResponse(status, reader)
    finally:
        writer.transport.abort()  # nothing is lost: the request is sent by now, or its response is not needed
        with suppress(OSError):
            await writer.wait_closed()


def _message(lines: bytes) -> Message | None:
    kind, _, data = lines.partition(b"\ndata: ")
    if not kind.startswith(b"event: "):
        return None  # a comment, which coglet sends to keep the connection open
    return kind.removeprefix(b"event: ").decode(), msgspec.json.decode(data)
