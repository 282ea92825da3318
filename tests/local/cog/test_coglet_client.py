from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.local.cog.coglet_client import MessageParser, ServerAddress, call

VALUES = st.dictionaries(st.text(), st.none() | st.integers(-9, 9) | st.text())


@given(st.lists(st.tuples(st.sampled_from(["start", "log", "completed"]), VALUES)), st.data())
def test_messages_do_not_depend_on_how_their_bytes_are_split(sent: list[tuple[str, Any]], data: st.DataObject) -> None:
    lines = [f"event: {kind}\ndata: {json.dumps(value)}\n\n" for kind, value in sent]
    stream = ":\n\n".join(lines).encode()
    messages, found = MessageParser(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += messages.feed(stream[:size])
        stream = stream[size:]
    assert found == sent


async def answering(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_a_response_has_a_status_and_a_body() -> None:
    server = await answering(b"HTTP/1.0 422 No\r\na: b\r\n\r\n{}")
    async with server, call(ServerAddress(*server.sockets[0].getsockname()), "GET", "/") as answer:
        assert (answer.status, await answer.read()) == (422, b"{}")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200", b"nonsense\r\n\r\n"])
async def test_a_connection_that_closes_without_a_response_raises_an_error(answer: bytes) -> None:
    async with await answering(answer) as server:
        with pytest.raises(ConnectionError, match="no answer"):
            async with call(ServerAddress(*server.sockets[0].getsockname()), "GET", "/"):
                pass


async def test_a_request_whose_response_is_not_read_can_be_closed() -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await over.wait()
        writer.transport.abort()

    async def ask(address: ServerAddress) -> None:
        async with call(address, "PUT", "/", bytes(2**26)):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        asking = asyncio.create_task(ask(ServerAddress(*server.sockets[0].getsockname())))
        await begun.wait()
        asking.cancel()
        given_up, _ = await asyncio.wait((asking,), timeout=20)
        over.set()
        assert given_up


def test_a_server_listens_on_a_random_loopback_host() -> None:
    found = {ServerAddress.free() for _ in range(20)}
    assert len(found) == 20
    assert all(address.host.startswith("127.") for address in found)
    if sys.platform == "linux":
        assert len({address.host for address in found}) > 1
