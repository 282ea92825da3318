"""Undocumented behavior of libraries that is relied on. The libraries are capped: a new release must pass these tests.

Of pyreqwest:

- Only the chain of causes tells a request that was never sent ("client error (Connect)"):
  ``tests/api/test_transport.py``.
- A cancellation just as the response arrives may be swallowed: ``tests/api/test_transport.py``.
- Its ``Url`` is the parser that is also used for sending: ``tests/api/test_transport.py``.
- In a fork of a process that made a client it raises a RuntimeError with "before fork()", and a client that was made
  before the fork never gets a response: ``tests/test_processes.py``.
- Nothing is read ahead with ``streamed_read_buffer_limit(0)``; a malformed URL is a ValueError; headers that cannot be
  decoded raise ValueError; ``details["causes"]`` holds messages; ``resolve`` pins an address: below.

Of obstore:

- An upload in parts is aborted at the store if the iterator of its blocks raises:
  ``tests/e2e/test_object_stores.py``.
- It asks the iterator for a block when there is room, and raises the iterator's own error: below.
- Errors are distinguished by the names of their classes and by words in their text: below.

Of Procrastinate: its tables, whose migrations are part of the journal's; a cancelled worker finishes its tasks;
``JobManager.finish_job`` is called at the end of a task, whose ``worker_id`` is its worker's in the queue's tables:
below, in ``tests/fleet`` and ``tests/e2e/test_fleet.py``.

Of uvicorn: the attributes and hooks of ``HttpToolsProtocol`` that ``listener`` and ``serving.connection`` use: below.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import obstore
import procrastinate
import pytest
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import AzureStore, MemoryStore, S3Store
from packaging.requirements import Requirement
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError, RedirectError, RequestTimeoutError
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from replicate_job.http import causes
from replicate_job.journal.postgres_schema import MIGRATIONS, QueueStep

CAPPED = ["obstore", "procrastinate", "pyreqwest", "uvicorn"]


@pytest.mark.parametrize("name", CAPPED)
def test_a_library_whose_undocumented_behavior_is_relied_on_is_capped(name: str) -> None:
    (versions,) = {each.specifier for each in map(Requirement, requires("replicate-job") or ()) if each.name == name}
    assert "<" in {each.operator for each in versions}
    assert version(name) in versions


async def answering(answer: bytes) -> asyncio.Server:
    """A server that sends this response to every client and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_without_reading_ahead_the_bytes_before_a_broken_connection_are_returned() -> None:
    async with (
        await answering(b"HTTP/1.1 206 Partial Content\r\ncontent-length: 10\r\n\r\nabc") as server,
        ClientBuilder().no_proxy().build() as client,
    ):
        request = client.get(f"http://127.0.0.1:{port_of(server)}").streamed_read_buffer_limit(0).build_streamed()
        response = await request.__aenter__()
        assert response.status == 206
        chunk = await response.body_reader.read_chunk()
        assert chunk is not None
        assert bytes(chunk) == b"abc"
        with pytest.raises(PyreqwestError) as broken:
            await response.body_reader.read_chunk()
        assert len(causes(broken.value)) > 1
        await request.__aexit__(None, None, None)


async def test_a_header_that_cannot_be_decoded_raises_a_value_error() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-odd: \xff\r\nx-plain: yes\r\n\r\n"
    async with await answering(answer) as server, ClientBuilder().no_proxy().build() as client:
        response = await client.get(f"http://127.0.0.1:{port_of(server)}").build().send()
        with pytest.raises(ValueError, match="header"):
            response.headers["x-odd"]
        assert response.headers["x-plain"] == "yes"


async def test_a_pinned_address_is_used_with_the_port_of_the_url() -> None:
    async with (
        await answering(b"HTTP/1.1 204 No Content\r\n\r\n") as server,
        ClientBuilder().no_proxy().resolve("there.invalid", "127.0.0.1", 0).build() as client,
    ):
        response = await client.get(f"http://there.invalid:{port_of(server)}").build().send()
        assert response.status == 204


def test_pyreqwests_errors_have_the_expected_base_classes() -> None:
    assert issubclass(BuilderError, ValueError)
    assert issubclass(RedirectError, PyreqwestError)
    assert issubclass(RequestTimeoutError, PyreqwestError)


HOOKS = {
    "connection_made": ["transport"],
    "data_received": ["data"],
    "on_message_begin": [],
    "on_header": ["name", "value"],
    "on_headers_complete": [],
    "on_body": ["body"],
    "send_400_response": ["msg"],
}
"""What a subclass overrides or calls, with its arguments."""


async def test_uvicorns_protocol_has_the_attributes_and_hooks_in_use() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    config, state = Config(app, lifespan="off", ws="none", log_config=None, interface="asgi3"), ServerState()
    config.load()
    connection = HttpToolsProtocol(config, state, {})
    for name, arguments in HOOKS.items():
        assert list(inspect.signature(getattr(connection, name)).parameters) == arguments
    assert connection.connections is state.connections
    assert connection.tasks is state.tasks
    assert connection.access_log in {True, False}
    assert len(connection.pipeline) == 0
    assert state.default_headers == []
    connection.on_message_begin()
    assert isinstance(connection.scope, dict)


async def test_obstore_reads_blocks_one_by_one_and_raises_the_error_of_the_iterator() -> None:
    asked = 0

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal asked
        for _ in range(8):
            asked += 1
            yield bytes(1024)
        raise ZeroDivisionError

    store = MemoryStore()
    with pytest.raises(ZeroDivisionError):
        await obstore.put_async(store, "k", blocks(), use_multipart=True, chunk_size=1024, max_concurrency=1)
    assert asked == 8
    assert list(obstore.list(store)) == []


async def test_errors_of_object_stores_have_the_expected_words() -> None:
    async with await answering(b"HTTP/1.1 403 X\r\ncontent-length: 14\r\n\r\n<Code>X</Code>") as server:
        store = _store(port_of(server))
        with pytest.raises(PermissionDeniedError, match=r"status code: 403 .*<Code>X</Code>"):
            await obstore.put_async(store, "k", b"x", use_multipart=False)
    with pytest.raises(GenericError, match="error sending request"):
        await obstore.put_async(store, "k", b"x", use_multipart=False)
    with pytest.raises(GenericError, match="MissingAccount"):
        AzureStore("container", config={"account_key": "a2V5"})


def _store(port: int) -> S3Store:
    return S3Store(
        "b",
        endpoint=f"http://127.0.0.1:{port}",
        skip_signature=True,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def test_the_queues_last_migration_is_part_of_the_journals() -> None:
    """A release of the queue engine with another migration needs a migration of the journal."""
    files = Path(procrastinate.__file__).parent / "sql" / "migrations"
    steps = [step for step in MIGRATIONS if isinstance(step, QueueStep)]
    assert max(file.stem for file in files.glob("*.sql")) == steps[-1].until
    assert [step.after for step in steps[1:]] == [step.until for step in steps[:-1]]
