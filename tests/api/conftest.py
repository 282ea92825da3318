from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """A server on loopback that reads whole requests. The coroutine ``answer`` gets the writer and answers each one.

    ``received`` holds every complete request.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.answer: Answer = self.reset
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
                )
                self.received.append(head + await reader.readexactly(length))
                await self.answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def reset(writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        raise ConnectionError

    def say(self, text: bytes, *, stay: bool = False) -> None:
        """Answer each request with these bytes. Close the connection unless ``stay``."""

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(text)
            await writer.drain()
            if not stay:
                raise ConnectionError

        self.answer = answer

    def hang(self) -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - it never answers
            await asyncio.Event().wait()

        self.answer = answer


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    raw = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(raw.serve(reader, writer)))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield raw
    listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
