"""Speaking HTTP to Cog's server (coglet), a connection a request.

By hand, for two reasons. An event stream on a reused connection costs 44 ms. And whoever does not read a stream as
fast as the model prints is cut off, and its prediction canceled: here the event loop reads whatever comes, in large
pieces, far ahead of who takes the messages. In HTTP/1.0 an answer is plain bytes up to the end of the connection.
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

_AHEAD = 32 * 2**20
_PIECE = 2**18

Message = tuple[str, dict[str, Any]]


class CogletResponse:
    def __init__(self, status: int, reader: asyncio.StreamReader) -> None:
        self.status, self._reader = status, reader

    async def read(self) -> bytes:
        return await self._reader.read()

    async def messages(self) -> AsyncGenerator[Message]:
        """The events of a stream as they come: type and data."""
        messages = MessageParser()
        while piece := await self._reader.read(_PIECE):
            for message in messages.feed(piece):
                yield message
            await asyncio.sleep(0)  # a full buffer is read without waiting: the loop must get to fill it again


class MessageParser:
    """Coglet's event streams: ``event: TYPE``, ``data: JSON`` on one line, and an empty line; bytes in any portions."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> list[Message]:
        self._pieces.append(piece)
        if b"\n" not in piece:  # joined once: a message of many portions must not cost their square
            return []
        *whole, rest = b"".join(self._pieces).split(b"\n\n")
        self._pieces = [rest] if rest else []
        return [message for each in whole if (message := _message(each))]


class ServerAddress(msgspec.Struct, frozen=True):
    """Where a Cog server listens on this machine's loopback network."""

    host: str
    port: int

    @classmethod
    def free(cls) -> ServerAddress:
        """One that nobody has. On Linux it is one of 16 million, for a Cog server asks nobody who he is.

        It would answer any web page that is shown on this machine and finds it. Other systems have 127.0.0.1 alone.
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
    """Send a request to the server on this machine. Raises OSError, also for an answer that breaks off."""
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=_AHEAD)
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
        writer.transport.abort()  # nothing is left to be sent, or nobody reads it
        with suppress(OSError):
            await writer.wait_closed()


def _message(lines: bytes) -> Message | None:
    kind, _, data = lines.partition(b"\ndata: ")
    if not kind.startswith(b"event: "):
        return None  # a comment, which keeps the connection open
    return kind.removeprefix(b"event: ").decode(), msgspec.json.decode(data)
