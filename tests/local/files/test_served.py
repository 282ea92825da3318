"""Files from the real server, for hostile requests: a URL is looked up and never becomes a path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

PAGE = b"<script>alert(1)</script>"


@pytest.fixture
async def api(local: Any, tmp_path: Path) -> AsyncIterator[Any]:
    async with local(state=tmp_path / "state") as api:
        yield api


async def upload(api: Any, name: str, kind: str, content: bytes = PAGE) -> Any:
    head = f'--x\r\ncontent-disposition: form-data; name="content"; filename="x"\r\ncontent-type: {kind}\r\n\r\n'
    named = f'\r\n--x\r\ncontent-disposition: form-data; name="filename"\r\n\r\n{name}\r\n--x--\r\n'
    request = api.client.post(f"{api.base_url}/v1/files").body_bytes(head.encode() + content + named.encode())
    answer = await request.header("content-type", "multipart/form-data; boundary=x").build().send()
    assert answer.status == 201
    return await answer.json()


@pytest.mark.parametrize(
    "target",
    [
        *("/outputs/%2e%2e/server.db", "/outputs/{id}/%2e%2e", "/outputs/{id}/..%2f..%2fserver.db", "/outputs/../x"),
        *("/outputs/{id}/..%5c..%5cserver.db", "/outputs/{id}/..\\..", "/outputs/{id}/%00", "/outputs/{id}/x%0d%0ay"),
        *(
            "/outputs/{id}/%ff%fe",
            "/outputs/{id}/%F0%9F%98%80",
            "/outputs/{id}/" + "a" * 5000,
            "/outputs/" + "a" * 5000,
        ),
        *("/inputs/{id}/%2e%2e-x", "/inputs/%2e%2e/files-x", "/inputs/{id}/0-%2e%2e", "/inputs/%00/0-x"),
        *("/files/%2e%2e/server.db", "/files/%2e/{id}", "/files/{id}%00/x", "/files/{id}%2f..%2f{id}/x"),
        *(
            "/v1/files/%2e%2e",
            "/v1/files/..%5c{id}",
            "/v1/files/{id}%00",
            "/v1/files/%2e%2e/download",
            "/files/{id}/x/y",
        ),
    ],
)
async def test_paths_that_lead_to_other_folders_are_not_found(api: Any, raw: Callable[..., bytes], target: str) -> None:
    file = await upload(api, "x", "text/plain")
    host = api.base_url.removeprefix("http://")
    request = f"GET {target.format(id=file['id'])} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    answer = await asyncio.to_thread(raw, api.base_url, request)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["status"] == 404


@pytest.mark.parametrize(
    "name", ["../../up.html", "a\r\nSet-Cookie: x=y.html", 'a"; filename="b.html', "😀\u202egpj.html", "%2e%2e", "\0"]
)
async def test_no_file_name_can_inject_response_headers(api: Any, name: str) -> None:
    file = await upload(api, name, "text/html")
    answer = await api.request("GET", f"/files/{file['id']}/x")
    assert (answer.status, await answer.bytes()) == (200, PAGE)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "set-cookie" not in answer.headers
    kind, _, shown = answer.headers["content-disposition"].partition("; ")
    assert (kind, shown) == ("inline", f'filename="{shown[10:-1]}"')
    assert set(shown[10:-1]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


async def test_a_media_player_gets_the_ranges_that_it_requests(api: Any) -> None:
    file = await upload(api, "x.wav", "audio/wav", b"RIFF0000WAVE")
    address = f"/files/{file['id']}/x.wav"
    for asked, given, content in (
        ("bytes=0-1", "bytes 0-1/12", b"RI"),
        ("bytes=0-", "bytes 0-11/12", b"RIFF0000WAVE"),
        ("bytes=-4", "bytes 8-11/12", b"WAVE"),
    ):
        answer = await api.request("GET", address, range=asked)
        assert (answer.status, answer.headers["content-range"], await answer.bytes()) == (206, given, content)
        assert answer.headers["content-type"] == "audio/wav"
    etag = answer.headers["etag"]
    assert (await api.request("GET", address, if_none_match=etag)).status == 304
    assert etag == f'"{file["checksums"]["sha256"]}"'
