"""Responses with stored files: ranges, and media types that no browser runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyreqwest.client import ClientBuilder
from pyreqwest.response import Response
from starlette.types import Receive, Scope, Send

from replicate_job.local.files.download import file_response
from replicate_job.local.files.file_store import StoredFile
from replicate_job.serving.listener import bind, listen, origin_of

SHA256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"0123456789")
    return tmp_path / "file"


async def ask(path: Path, content_type: str, method: str = "GET", **headers: str) -> Response:
    """The response of a real server."""
    file = StoredFile(
        id="a", name="x.bin", path=path, content_type=content_type, size=10, sha256=SHA256, created_at=0.0
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await file_response(file)(scope, receive, send)

    with bind() as listening:
        async with listen(app, listening), ClientBuilder().no_proxy().build() as client:
            return await client.request(method, origin_of(listening)).headers(headers).build().send()


async def test_range_and_head_requests_are_supported(path: Path) -> None:
    part = await ask(path, "image/png", range="bytes=7-")
    assert (part.status, part.headers["content-range"], await part.text()) == (206, "bytes 7-9/10", "789")
    head = await ask(path, "image/png", "HEAD")
    assert (head.status, head.headers["content-length"], await head.text()) == (200, "10", "")
    assert head.headers["accept-ranges"] == "bytes"
    assert (await ask(path, "image/png", range="bytes=99-")).status == 416


async def test_a_range_request_with_another_etag_gets_the_whole_file(path: Path) -> None:
    whole = await ask(path, "audio/wav", range="bytes=0-")
    assert (whole.status, whole.headers["etag"]) == (206, f'"{SHA256}"')
    for etag, status in ((f'"{SHA256}"', 206), (f'W/"{SHA256}"', 200), ('"another"', 200)):
        answer = await ask(path, "audio/wav", **{"range": "bytes=0-1", "if-range": etag})
        assert (answer.status, answer.headers["content-length"]) == (status, "2" if status == 206 else "10")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("etags", "status"),
    [
        (f'"{SHA256}"', 304),
        (f'"another", W/"{SHA256}"', 304),
        ("*", 304),
        ('"another"', 200),
        (SHA256, 200),
        ("", 200),
    ],
)
async def test_a_client_that_has_the_file_already_gets_a_304(path: Path, method: str, etags: str, status: int) -> None:
    answer = await ask(path, "image/png", method, **{"if-none-match": etags})
    assert (answer.status, answer.headers["etag"]) == (status, f'"{SHA256}"')
    assert await answer.text() == ("0123456789" if (method, status) == ("GET", 200) else "")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_file_that_is_removed_before_it_is_sent_is_not_found(path: Path, method: str) -> None:
    assert (await ask(path.with_name("gone"), "image/png", method)).status == 404


@pytest.mark.parametrize(
    ("given", "shown_as", "disposition"),
    [
        ("image/png", "image/png", "inline"),
        ("audio/wav", "audio/wav", "inline"),
        ("video/mp4", "video/mp4", "inline"),
        ("application/json", "application/json", "inline"),
        ("text/plain", "text/plain; charset=utf-8", "inline"),
        ("text/html", "text/plain; charset=utf-8", "inline"),
        ("TEXT/HTML; charset=utf-7", "text/plain; charset=utf-8", "inline"),
        ("application/xhtml+xml", "text/plain; charset=utf-8", "inline"),
        ("application/xml", "text/plain; charset=utf-8", "inline"),
        ("text/javascript", "text/plain; charset=utf-8", "inline"),
        ("application/x-javascript", "text/plain; charset=utf-8", "inline"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/pdf", "application/pdf", "attachment"),
        ("multipart/x-mixed-replace", "multipart/x-mixed-replace", "attachment"),
        ("model/gltf-binary", "model/gltf-binary", "attachment"),
        ("nonsense\r\nx: y", "application/octet-stream", "attachment"),
        ("", "application/octet-stream", "attachment"),
    ],
)
async def test_no_file_is_sent_with_a_type_that_runs_as_a_page(
    path: Path, given: str, shown_as: str, disposition: str
) -> None:
    answer = await ask(path, given)
    assert answer.headers["content-type"] == shown_as
    assert answer.headers["content-disposition"] == f'{disposition}; filename="x.bin"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].split()[0] == "sandbox"
    assert "allow-scripts" not in answer.headers["content-security-policy"]
