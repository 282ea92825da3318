from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TOKEN = "a-token-of-the-test"  # noqa: S105 - not a real token


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


@pytest.fixture
async def secured(local: Any) -> AsyncIterator[Any]:
    async with local(token=TOKEN) as api:
        yield api


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost:1", "[::1]:80", "127.0.0.2"]
)
async def test_requests_to_loopback_names_are_admitted(api: Any, host: str) -> None:
    assert (await api.request("GET", "/v1/account", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "0.0.0.0",  # noqa: S104 - a name that is refused
        "2130706433",
        "0177.0.0.1",
        "localhost.",
        "[::ffff:127.0.0.1]",
    ],
)
async def test_requests_to_any_other_host_are_refused_on_every_path(api: Any, host: str) -> None:
    for path in ("/", "/v1/account", "/outputs/a/b", "/stream/a"):
        answer = await api.request("GET", path, host=host)
        assert answer.status == 403
        assert (await answer.json())["detail"] == "This server answers to 127.0.0.1 and localhost only."


@pytest.mark.parametrize(
    "host", ["", "localhost@example.com", "example.com/localhost", "[", "a b", 'a"b', "a:b", "<b>"]
)
async def test_a_malformed_host_header_is_refused_even_with_the_token(secured: Any, host: str) -> None:
    answer = await secured.request("GET", "/v1/account", host=host, authorization=f"Bearer {TOKEN}")
    assert answer.status == 400


async def test_a_server_on_another_loopback_address_admits_that_address(local: Any) -> None:
    async with local(host="127.0.0.2") as api:
        assert (await api.request("GET", "/v1/account")).status == 200


@pytest.mark.parametrize("second", ["example.com", "localhost"])
async def test_a_request_with_two_host_headers_is_refused(api: Any, raw: Callable[..., bytes], second: str) -> None:
    request = f"GET /v1/account HTTP/1.1\r\nHost: {second}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await asyncio.to_thread(raw, api.base_url, request)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_second_origin_header_of_another_site_is_refused(api: Any, raw: Callable[..., bytes]) -> None:
    own = api.base_url
    for first, second in ((own, "http://example.com"), ("http://example.com", own)):
        request = (
            f"POST /v1/predictions/none/cancel HTTP/1.1\r\nHost: {own.removeprefix('http://')}\r\n"
            f"Origin: {first}\r\nOrigin: {second}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert (await asyncio.to_thread(raw, own, request)).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_request_that_sec_fetch_site_marks_as_not_same_origin_is_refused_even_without_an_origin(
    api: Any, site: str
) -> None:
    headers = {"sec_fetch_site": site, "sec_fetch_dest": "empty"}
    assert (await api.request("POST", "/v1/predictions/none/cancel", **headers)).status == 403
    headers["sec_fetch_site"] = "same-origin"
    assert (await api.request("POST", "/v1/predictions/none/cancel", **headers)).status == 404


async def test_a_page_of_another_site_cannot_prepare_models_with_image_requests(api: Any) -> None:
    for path in ("/v1/models", "/v1/models/replicate/hello-world", "/models"):
        headers = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
        assert (await api.request("GET", path, **headers)).status == 403


async def test_links_and_images_on_pages_of_other_sites_work(api: Any) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    for path in ("/", "/v1/account"):
        assert (await api.request("GET", path, **link)).status == 200
    picture = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
    for path in ("/outputs/a/b.png", "/files/a/b.png", "/v1/files/a/download"):
        assert (await api.request("GET", path, **picture)).status == 404


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
@pytest.mark.parametrize("origin", ["http://example.com", "null", "http://127.0.0.1:1", "http://localhost", "file://"])
async def test_a_page_of_another_origin_cannot_write(api: Any, method: str, origin: str) -> None:
    answer = await api.request(method, "/v1/deployments/local/a", origin=origin)
    assert answer.status == 403
    assert (await answer.json())["detail"] == "This server takes no requests from other web pages."


async def test_the_servers_own_page_may_write_under_each_loopback_name(api: Any) -> None:
    port = api.base_url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        answer = await api.request("POST", "/v1/predictions/none/cancel", host=host, origin=f"http://{host}")
        assert answer.status == 404


async def test_a_page_of_another_origin_may_request_a_read_but_cannot_see_the_answer(api: Any) -> None:
    answer = await api.request("GET", "/v1/account", origin="http://example.com")
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "TOKEN"])
async def test_a_request_with_the_token_is_admitted(secured: Any, scheme: str) -> None:
    assert (await secured.request("GET", "/v1/account", authorization=f"{scheme} {TOKEN}")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": TOKEN},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN.upper()}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer x {TOKEN}"},
        {"cookie": f"token={TOKEN}"},
    ],
)
async def test_a_request_without_the_token_is_refused(secured: Any, headers: dict[str, str]) -> None:
    answer = await secured.request("GET", "/v1/account", **headers)
    assert (answer.status, await answer.json()) == (
        401,
        {"title": "Unauthenticated", "detail": "You did not pass a valid authentication token", "status": 401},
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/account",
        "/v1/predictions",
        "/v1/models/replicate/hello-world",
        "/v1/files",
        "/v1/webhooks/default/secret",
        "/v1/none",
        "/v1/files/download",
        "/v1/files/../predictions",
        "//v1/account",
        "/v1//account",
        "/%76%31/account",
        "/v1/predictions/",
        "/account",
        "/predictions",
    ],
)
async def test_no_spelling_of_an_api_path_bypasses_the_token(secured: Any, path: str) -> None:
    assert (await secured.request("GET", path)).status in {401, 404}


async def test_a_token_in_the_query_is_not_accepted(secured: Any) -> None:
    assert (await secured.request("GET", f"/v1/account?token={TOKEN}")).status == 401


@pytest.mark.parametrize("path", ["/outputs/a/b.png", "/files/a/b", "/stream/a", "/v1/files/a/download"])
async def test_file_and_stream_addresses_need_no_token(secured: Any, path: str) -> None:
    assert (await secured.request("GET", path)).status == 404


async def test_with_a_token_configured_the_page_needs_no_token_and_any_host_is_admitted(secured: Any) -> None:
    assert (await secured.request("GET", "/", host="my.machine.example")).status == 200
    known = {"host": "my.machine.example", "authorization": f"Bearer {TOKEN}"}
    answer = await secured.request("GET", "/v1/models/replicate/hello-world", **known)
    assert (await answer.json())["url"] == "http://my.machine.example/replicate/hello-world"
    foreign = {**known, "origin": "http://example.com"}
    assert (await secured.request("POST", "/v1/predictions", {}, **foreign)).status == 403


async def test_a_request_without_a_host_header_is_refused_with_a_message(
    secured: Any, raw: Callable[..., bytes]
) -> None:
    for version in ("1.0", "1.1"):
        request = f"GET /v1/predictions HTTP/{version}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        answer = await asyncio.to_thread(raw, secured.base_url, request)
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b"The header Host is missing" in answer
