"""Behaviour that all endpoints share: methods, bodies, and requests that are refused at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.serving.body import LARGEST_BODY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HELLO = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/account", "GET"),
        ("PUT", "/v1/predictions/none", "DELETE, GET"),
        ("GET", "/v1/predictions/none/cancel", "POST"),
        ("PUT", "/v1/predictions", "GET, POST"),
        ("DELETE", "/v1/models", "GET, POST, QUERY"),
        ("PUT", "/v1/deployments/local/a", "DELETE, GET, PATCH"),
        ("POST", "/v1/files/none/download", "GET"),
        ("OPTIONS", "/v1/predictions", "GET, POST"),
        ("HEAD", "/v1/predictions/none/cancel", "POST"),
    ],
)
async def test_an_unsupported_method_is_a_405_with_the_allowed_ones(
    api: Any, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert await answer.json() == {"detail": f'Method "{method}" not allowed.', "status": 405}


@pytest.mark.parametrize("path", ["/v1/account", "/v1/predictions", "/v1/models/replicate/hello-world", "/v1/none"])
async def test_a_head_request_gets_the_response_of_a_get_without_the_body(api: Any, path: str) -> None:
    head, get = await api.request("HEAD", path), await api.request("GET", path)
    assert (head.status, head.headers["content-type"]) == (get.status, get.headers["content-type"])
    assert head.headers["content-length"] == get.headers["content-length"]
    assert await head.text() == ""


@pytest.mark.parametrize(
    "body",
    [b"", b"[1", b"[]", b"null", b'"text"', b'{"version": "\xff"}', b"{" * 100_000, b'{"a":' * 100_000, b"\x00"],
    ids=range(9),
)
@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/deployments"])
async def test_a_body_that_is_not_a_json_object_gets_a_400_with_a_one_line_message(
    api: Any, path: str, body: bytes
) -> None:
    answer = await api.client.post(f"{api.base_url}{path}").body_bytes(body).build().send()
    said = await answer.json()
    assert (answer.status, said["title"]) == (400, "Invalid JSON")
    assert said["detail"].startswith("The request body is not a JSON object: ")
    assert "\n" not in said["detail"]


async def test_a_body_over_the_limit_is_a_413_before_it_was_sent_completely(
    api: Any, raw: Callable[..., bytes]
) -> None:
    head = (
        f"POST /v1/predictions HTTP/1.1\r\nhost: {api.base_url[7:]}\r\nconnection: close\r\n"
        f"content-length: {LARGEST_BODY + 1}\r\n\r\n{{"
    )
    answer = await asyncio.to_thread(raw, api.base_url, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 100 MB" in answer


async def test_a_chunked_body_is_a_413_when_it_exceeds_the_limit(api: Any) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(LARGEST_BODY // 2**20 + 1):
            yield bytes(2**20)

    answer = await api.client.post(f"{api.base_url}/v1/predictions").body_stream(blocks()).build().send()
    assert (answer.status, (await answer.json())["status"]) == (413, 413)


async def test_an_incomplete_body_does_not_delay_other_requests(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection(*api.base_url[7:].split(":"))
    writer.write(b"POST /v1/predictions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
    assert (await api.request("GET", "/v1/account")).status == 200
    writer.close()
    assert await reader.read() == b""
    assert (await api.get("/v1/predictions"))["results"] == []
    assert not caplog.records


@pytest.mark.parametrize(
    "path",
    [
        "/v1/predictions/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/predictions/%00",
        "/v1/predictions/%ff%fe",
        "/v1/predictions/" + "a" * 10_000,
        "/v1/models/%E6%A8%A1/%F0%9F%92%A5",
        "/v1/models/../../etc",
        "/v1/models/me/model/versions/%00",
        "/v1/collections/%0a",
        "/v1/files/%2e%2e",
        "/v1/files/%00/download?owner=%ff&expiry=%00&signature=%ff",
        "/files/%00/a",
        "/inputs/a/%00",
        "/outputs/%00/%00",
        "/stream/%ff",
    ],
)
async def test_unusual_names_in_a_path_get_a_404(api: Any, path: str) -> None:
    assert (await api.request("GET", path)).status == 404


async def test_headers_that_are_too_long_are_refused_and_the_server_keeps_running(
    api: Any, raw: Callable[..., bytes]
) -> None:
    request = f"GET /v1/account HTTP/1.1\r\nhost: {api.base_url[7:]}\r\nconnection: close\r\nx: {'a' * 2**20}\r\n\r\n"
    with suppress(ConnectionResetError):  # the server stops reading, so sending the rest may fail
        answer = await asyncio.to_thread(raw, api.base_url, request)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert (await api.request("GET", "/v1/account")).status == 200


async def test_a_thousand_concurrent_requests_are_all_answered(api: Any) -> None:
    body = {"version": HELLO, "input": {"text": "a"}}
    made = await (await api.request("POST", "/v1/predictions", body)).json()
    answers = await asyncio.gather(*(api.request("GET", made["urls"]["get"]) for _ in range(1000)))
    assert {answer.status for answer in answers} == {200}
