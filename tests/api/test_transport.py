"""The outcome of failed requests over real sockets. A request that was sent may have to be paid for."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError

from replicate_job.api.transport import COPIED, Transport, normalize
from replicate_job.errors import JobError, NoAnswerError, NotSentError, TransportError
from replicate_job.http import NEVER_CONNECTED, causes, is_loopback

TOKEN = "r8_secret"  # noqa: S105 - opens nothing
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BODY = b'{"input":{}}'


async def post(url: str, *, timeout: float = 5) -> Any:  # noqa: ASYNC109 - passed on
    async with Transport(url, TOKEN, user_agent="test") as transport:
        return await transport.send("POST", "/predictions", timeout=timeout, body=BODY)


def unused() -> socket.socket:
    """A socket whose port refuses connections."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def one_line(error: TransportError, *words: str) -> None:
    assert "\n" not in str(error)
    assert TOKEN not in str(error)
    assert all(word in str(error) for word in words), str(error)


async def test_a_refused_connection_raises_a_not_sent_error() -> None:
    with unused() as port, pytest.raises(NotSentError) as caught:
        await post(f"http://127.0.0.1:{port.getsockname()[1]}")
    one_line(caught.value, "POST http://127.0.0.1", "/v1/predictions", "no connection", "refused")


async def test_an_unknown_host_raises_a_not_sent_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotSentError) as caught:
        await post("http://no-such-host.invalid", timeout=8)
    one_line(caught.value, "no-such-host.invalid")


async def test_a_failed_tls_handshake_raises_a_not_sent_error(api: Any) -> None:
    with pytest.raises(NotSentError) as caught:
        await post(api.base_url.replace("http:", "https:"))
    one_line(caught.value, "no connection")
    assert api.requests == []


@pytest.mark.parametrize(
    ("text", "timeout"),
    [
        (None, 5),
        (b"", 5),
        (b"HTTP/1.1 200 OK\r\nconten", 5),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", 5),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe", 5),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope", 5),
        (b"SSH-2.0-OpenSSH_9\r\n", 5),
        ("hang", 0.3),
    ],
    ids=["reset", "closed", "half a head", "half a body", "half a chunk", "no gzip", "no HTTP", "no answer"],
)
async def test_any_failure_after_the_request_was_sent_raises_a_no_answer_error(
    server: Any,
    text: bytes | str | None,
    timeout: float,  # noqa: ASYNC109 - passed on
) -> None:
    if text == "hang":
        server.hang()
    elif text is not None:
        server.say(text)
    with pytest.raises(NoAnswerError) as caught:
        await post(server.url, timeout=timeout)
    one_line(caught.value, "POST http://127.0.0.1", "/v1/predictions")
    assert len(server.received) == 1
    assert server.received[0].endswith(BODY)


async def test_a_response_whose_body_stalls_raises_a_no_answer_error_at_the_timeout(server: Any) -> None:
    server.say(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", stay=True)
    with pytest.raises(NoAnswerError, match="no answer in time"):
        await post(server.url, timeout=0.3)


async def test_a_request_on_a_keep_alive_connection_that_breaks_is_sent_only_once(server: Any) -> None:
    """An HTTP library that repeated the request by itself would create two predictions."""
    server.say(OK, stay=True)
    async with Transport(server.url, TOKEN, user_agent="test") as transport:
        await transport.send("GET", "/account", timeout=5)
        server.answer = server.reset
        with pytest.raises(NoAnswerError):
            await transport.send("POST", "/predictions", timeout=5, body=BODY)
    assert len(server.received) == 2


async def test_responses_that_are_read_to_their_end_share_a_connection(server: Any) -> None:
    """Pins pyreqwest: such a response leaves its connection to the next request without the exit of its context."""
    peers = set()

    async def answer(writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        writer.write(OK)

    server.answer = answer
    async with Transport(server.url, TOKEN, user_agent="test") as transport:
        for _ in range(20):
            assert (await transport.send("GET", "/account", timeout=5)).body == b"{}"
    assert (len(server.received), len(peers)) == (20, 1)


@pytest.mark.parametrize("size", [1, COPIED // 2, COPIED])
async def test_a_body_is_sent_unchanged_as_json_whatever_its_size(server: Any, size: int) -> None:
    server.say(OK)
    body = '{"text":"ä"}'.replace("ä", "ä" * size).encode()
    async with Transport(server.url, TOKEN, user_agent="test") as transport:
        await transport.send("POST", "/predictions", timeout=5, body=body)
    head, _, sent = server.received[0].partition(b"\r\n\r\n")
    assert sent == body
    types = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-type:")]
    assert types == [b"content-type: application/json"]


async def test_a_body_that_is_no_text_is_sent_unchanged(server: Any) -> None:
    """A program that is recorded may send anything."""
    server.say(OK)
    async with Transport(server.url, TOKEN, user_agent="test") as transport:
        await transport.send("POST", "/files", timeout=5, body=b"\xff\x00", headers={"content-type": "image/x"})
    head, _, sent = server.received[0].partition(b"\r\n\r\n")
    assert sent == b"\xff\x00"
    assert b"content-type: image/x" in head.lower().split(b"\r\n")


@pytest.mark.parametrize("text", [None, b""], ids=["reset", "closed"])
async def test_the_http_library_does_not_distinguish_sent_from_not_sent(server: Any, text: bytes | None) -> None:
    """Pins pyreqwest: it raises ConnectError even after the request was sent. Only the chain of causes tells."""
    if text is not None:
        server.say(text)
    async with ClientBuilder().no_proxy().timeout(timedelta(seconds=5)).build() as client:
        with pytest.raises(PyreqwestError) as sent:
            await client.post(server.url).body_bytes(BODY).build().send()
        with unused() as port, pytest.raises(ConnectError) as unsent:
            await client.post(f"http://127.0.0.1:{port.getsockname()[1]}").body_bytes(BODY).build().send()
    assert len(server.received) == 1
    assert NEVER_CONNECTED in causes(unsent.value)
    assert NEVER_CONNECTED not in causes(sent.value)


async def test_a_redirect_is_not_followed(server: Any, api: Any) -> None:
    server.say(f"HTTP/1.1 307 X\r\nlocation: {api.base_url}/v1/predictions\r\ncontent-length: 0\r\n\r\n".encode())
    assert (await post(server.url)).status == 307
    assert api.requests == []


async def test_the_token_goes_to_the_origin_of_the_api_only(server: Any, api: Any) -> None:
    server.say(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", stay=True)
    other = f"http://127.0.0.1:{server.url.rpartition(':')[2]}"
    async with Transport(api.base_url, api.token, user_agent="test") as transport:
        assert (await transport.send("GET", "/account", timeout=5)).status == 200
        assert (await transport.send("GET", f"{api.base_url}/v1/account", timeout=5)).status == 200
        await transport.send("GET", f"{other}/v1/account", timeout=5)
        async with transport.stream(f"{other}/stream", {}) as (status, _):
            assert status == 200
    assert len(server.received) == 2
    assert not any(api.token.encode() in request for request in server.received)


@pytest.mark.parametrize(
    "shape",
    [
        "http://{other}\\@{api}/x",
        "http://{other}/\\@{api}/x",
        "http://{api}@{other}/x",
        "http://{api}:80@{other}/x",
        "http:\\\\{other}\\@{api}/x",
        "http://{other}?@{api}/",
        "http://{other}#@{api}/",
        "http://{api}\t@{other}/x",
    ],
)
async def test_a_url_that_parsers_read_differently_gets_no_token(server: Any, api: Any, shape: str) -> None:
    server.say(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", stay=True)
    url = shape.format(api=api.base_url.removeprefix("http://"), other=server.url.removeprefix("http://"))
    async with Transport(api.base_url, api.token, user_agent="test") as transport:
        try:
            async with transport.stream(url, {}):
                pass
        except TransportError:
            pass  # refusing the URL is right as well
    assert not any(api.token.encode() in request for request in server.received)


async def test_a_stream_is_read_as_it_arrives_and_raises_an_error_when_it_breaks(server: Any) -> None:
    server.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
    async with Transport(server.url, None, user_agent="test") as transport:
        seen: list[bytes] = []
        with pytest.raises(NoAnswerError):  # noqa: PT012 - it is the loop that raises
            async with transport.stream(f"{server.url}/x", {}) as (status, chunks):
                assert status == 200
                async for chunk in chunks:
                    seen.append(chunk)  # noqa: PERF401 - what came before the break counts
        assert b"".join(seen) == b"hi"
        with unused() as port, pytest.raises(NotSentError):
            async with transport.stream(f"http://127.0.0.1:{port.getsockname()[1]}/x", {}):
                pass


async def test_a_cancelled_request_ends_at_once(server: Any) -> None:
    server.hang()
    task = asyncio.create_task(post(server.url, timeout=60))
    while not server.received:  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait((task,), timeout=20)
    assert task.cancelled()


async def test_a_cancellation_while_the_response_arrives_is_never_lost(server: Any) -> None:
    """Pins pyreqwest: it may return the response to a cancelled task, which would then run on."""
    server.say(OK, stay=True)
    async with Transport(server.url, None, user_agent="test") as transport:
        for turn in range(400):
            answered = len(server.received) + 1
            task = asyncio.create_task(transport.send("GET", "/account", timeout=5))
            while len(server.received) < answered and not task.done():  # noqa: ASYNC110 - the server has no event to wait for
                await asyncio.sleep(0)
            for _ in range(turn % 40):
                await asyncio.sleep(0)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task


async def test_the_time_of_the_api_is_read_from_the_date_header(server: Any) -> None:
    def say(date: str) -> None:
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{date}\r\n\r\n"
            if date
            else "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        )
        server.say(head.encode(), stay=True)

    async with Transport(server.url, None, user_agent="test") as transport:

        async def ask(date: str) -> float | None:
            say(date)
            await transport.send("GET", "/account", timeout=5)
            return None if transport.api_time is None else transport.api_time - time.time()

        assert await ask("") is None
        ahead = await ask(f"date: {formatdate(time.time() + 7200, usegmt=True)}")
        assert ahead == pytest.approx(7200, abs=2)
        for nonsense in ("", "date: yesterday", "date: Mon, 99 Foo 2026 25:61:00 GMT", "date: 0"):
            assert await ask(nonsense) == pytest.approx(ahead, abs=0.5)
        assert await ask(f"date: {formatdate(time.time() - 7200, usegmt=True)}") == pytest.approx(-7200, abs=2)


@pytest.mark.parametrize("form", ["%a %b %e %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S -0000"])
async def test_a_date_header_that_names_no_time_zone_is_in_utc(
    server: Any, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = time.strftime(form, time.gmtime())
        server.say(f"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n".encode())
        async with Transport(server.url, None, user_agent="test") as transport:
            await transport.send("GET", "/account", timeout=5)
            assert transport.api_time == pytest.approx(time.time(), abs=5)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("https://api.replicate.com", "https://api.replicate.com/v1"),
        ("https://api.replicate.com/", "https://api.replicate.com/v1"),
        ("https://api.replicate.com/v1", "https://api.replicate.com/v1"),
        ("https://api.replicate.com/v1/", "https://api.replicate.com/v1"),
        (" http://127.0.0.1:5000/replicate ", "http://127.0.0.1:5000/replicate"),
        ("http://127.0.0.1:5000/replicate/v1//", "http://127.0.0.1:5000/replicate/v1"),
        ("http://[::1]:80", "http://[::1]:80/v1"),
    ],
)
def test_only_a_base_url_without_a_path_gets_v1(given_: str, expected: str) -> None:
    assert normalize(given_) == expected
    assert normalize(expected) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "api.replicate.com",
        "ftp://x",
        "https://",
        "http://[",
        "http://x:abc",
        "http://x:99999",
        "https://x?a=1",
        "https://x#a",
        "https://user:secret@x",
    ],
)
def test_a_malformed_base_url_raises_a_one_line_error(wrong: str) -> None:
    with pytest.raises(JobError, match="REPLICATE_BASE_URL") as caught:
        normalize(wrong)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_base_url_or_an_error_that_names_the_variable(text: str) -> None:
    for url in (text, f"http://{text}", f"https://x:{text}"):
        try:
            whole = normalize(url)
        except JobError as error:
            assert "REPLICATE_BASE_URL" in str(error)  # noqa: PT017 - a valid text raises nothing
        else:
            assert not whole.endswith("/")
            assert normalize(whole) == whole


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
     ("api.replicate.com", False), ("localhost.evil.com", False), ("127.0.0.1.evil.com", False), ("", False),
     (None, False)],
)  # fmt: skip
def test_loopback_hosts_are_recognized(host: str | None, expected: bool) -> None:  # noqa: FBT001 - a table
    assert is_loopback(host) is expected


_YEAR = b"date: Fri, 31 Dec %d 23:59:59 GMT"


@pytest.mark.parametrize("header", [b"x-a: \xff", _YEAR % 10**20, _YEAR % 9999])
async def test_a_malformed_header_does_not_fail_the_request(server: Any, header: bytes) -> None:
    server.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + header + b"\r\n\r\n{}")
    async with Transport(server.url, None, user_agent="test") as transport:
        assert (await transport.send("GET", "/account", timeout=5)).body == b"{}"
        assert transport.api_time is None
