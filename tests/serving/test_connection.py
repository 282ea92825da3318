"""Limits for one connection: the size of a request's head, and the number of pipelined requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from replicate_job.serving.connection import LARGEST_HEAD, MOST_PIPELINED
from replicate_job.testing import LoopbackServer

START = b"GET / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def describe(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes of the body, and with the headers as they are after the whole request."""
    request = Request(scope, receive)
    if request.url.path == "/hold":
        await asyncio.Event().wait()
    size = len(await request.body())
    await PlainTextResponse(f"{size} {','.join(request.headers)}")(scope, receive, send)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    server = LoopbackServer(describe).start()
    place = urlsplit(server.origins[0])
    with closing(server), socket.create_connection((place.hostname, place.port or 0), timeout=10) as made:
        yield made


def ends(connection: socket.socket) -> bool:
    """Whether the server ends the connection, with or without an error response. Raises TimeoutError."""
    try:
        answer = connection.recv(65536)
        return not answer or (answer.startswith(b"HTTP/1.1 400 ") and not connection.recv(65536))
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (START, b"X-Name: " + b"v" * 1000 + b"\r\n"),
        (START + b"X-Name: ", b"v" * 1000),
        (b"GET /", b"v" * 1000),
        (CHUNKED + b"1;", b"v" * 1000),
        (CHUNKED + b"0\r\nX-Name: ", b"v" * 1000),
    ],
    ids=["headers", "one header", "address", "chunk extension", "trailer"],
)
def test_a_request_with_an_endless_head_is_cut_off_before_it_fills_the_memory(
    connection: socket.socket, start: bytes, piece: bytes
) -> None:
    with suppress(ConnectionError):
        connection.sendall(start + piece * (4 * LARGEST_HEAD // len(piece)))
    assert ends(connection)


def test_a_client_that_pipelines_too_many_requests_is_disconnected(connection: socket.socket) -> None:
    with suppress(ConnectionError):
        connection.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n" + (START + b"\r\n") * 10 * MOST_PIPELINED)
    assert ends(connection)


def test_pipelined_requests_are_answered_one_by_one(connection: socket.socket) -> None:
    connection.sendall((START + b"\r\n") * 50)
    answer = b""
    while answer.count(b"0 host") < 50:
        answer += connection.recv(65536)


def test_a_large_request_head_is_read_and_so_is_the_head_after_a_larger_body(connection: socket.socket) -> None:
    head = START + b"X-Name: " + b"v" * (LARGEST_HEAD // 2) + b"\r\n"
    body = b"b" * 3 * LARGEST_HEAD
    for sent, size in ((b"", 0), (body, len(body)), (b"", 0)):
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)
        answer = b""
        while not answer.endswith(b"content-length"):
            answer += connection.recv(65536)
        assert answer.rpartition(b"\r\n\r\n")[2] == b"%d host,x-name,content-length" % size


def test_trailers_after_the_body_do_not_become_headers(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + b"1\r\nb\r\n0\r\nX-Replicate-Job-Fault: drop\r\n\r\n")
    answer = b""
    while not answer.endswith(b"transfer-encoding"):
        answer += connection.recv(65536)
    assert answer.endswith(b"1 host,transfer-encoding")
