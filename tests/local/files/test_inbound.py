"""Downloading input files, and refusing addresses in private networks."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path, PosixPath
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from replicate_job.address import Address, is_public, lookup
from replicate_job.errors import LocalError
from replicate_job.local.files.file_store import Drafts, StoredFile
from replicate_job.local.files.inbound import Inbound, parse_address
from replicate_job.serving.listener import bind, listen, origin_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Site:
    """A web site on the loopback address. ``requests`` are those that it has received."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.origin = ""
        self.is_reached, self.goes_on = asyncio.Event(), asyncio.Event()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/pictures/{name:path}", self.picture),
                Route("/as/{kind:path}", self.typed),
                Route("/to", self.to),
                Route("/round", self.round),
                Route("/packed", self.packed),
                Route("/endless", self.endless),
                Route("/waits", self.waits),
            ]
        )

    async def picture(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(PNG, media_type="image/png")

    async def typed(self, request: Request) -> Response:
        return Response(PNG, headers={"content-type": request.path_params["kind"]})

    async def to(self, request: Request) -> Response:
        self.requests.append(request)
        return RedirectResponse(request.query_params["url"])

    async def round(self, request: Request) -> Response:
        self.requests.append(request)
        return RedirectResponse("/round")

    async def packed(self, request: Request) -> Response:
        coding = request.query_params["as"]
        return Response(gzip.compress(PNG), headers={"content-encoding": coding}, media_type="image/png")

    async def endless(self, _: Request) -> Response:
        async def zeros() -> AsyncIterator[bytes]:
            while True:
                yield bytes(1000)
                await asyncio.sleep(0)  # a write to a closed connection does not wait, so the loop would be blocked

        return StreamingResponse(zeros())

    async def waits(self, _: Request) -> Response:
        self.is_reached.set()
        await self.goes_on.wait()
        return Response(b"")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    with bind() as listening:
        made.origin = origin_of(listening)
        async with listen(made.app(), listening):
            yield made


def everywhere(_: Address) -> bool:
    return True


@pytest.fixture
def inbound(tmp_path: Path) -> Callable[..., Inbound]:
    def make(admits: Callable[[Address], bool] = everywhere, **more: Any) -> Inbound:
        return Inbound(Drafts(tmp_path / "unfinished"), admits, **more)

    return make


async def fetch(inbound: Inbound, folder: Path, url: str) -> StoredFile:
    return await inbound.fetch(parse_address(url), folder / "inputs", "0")


async def test_a_file_is_downloaded_under_its_own_name_without_a_token(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_secret")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    file = await fetch(inbound(), tmp_path, f"{site.origin}/pictures/my%20cat.png?x=1#part")
    assert (file.name, file.content_type, file.path.read_bytes()) == ("my-cat.png", "image/png", PNG)
    headers = site.requests[0].headers
    assert {"authorization", "cookie", "referer"}.isdisjoint(headers)
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/pictures/cat", "cat.png", "image/png"),
        ("/pictures/cat.JPG", "cat.JPG", "image/png"),
        ("/pictures/v1.5", "v1.5.png", "image/png"),
        ("/pictures/%2e%2e%2fup", "up.png", "image/png"),
        ("/pictures/", "pictures.png", "image/png"),
        ("/as/application/octet-stream", "octet-stream.png", "application/octet-stream"),
        ("/as/audio/wav", "wav.wav", "audio/wav"),
        ("/as/nothing", "nothing.png", "image/png"),
    ],
)
async def test_a_name_without_a_suffix_gets_one_by_type_or_content(  # noqa: PLR0913, PLR0917 - fixtures and a table's columns
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], path: str, name: str, kind: str
) -> None:
    file = await fetch(inbound(), tmp_path, site.origin + path)
    assert (file.name, file.content_type) == (name, kind)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "localhost.", "2130706433", "0x7f.1", "017700000001", "127.1", "0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "①②⑦.⓪.⓪.①", "127.0.0.1.", "user@127.0.0.1"),
        *("169.254.169.254", "10.0.0.1", "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "example.com@127.0.0.1"),
    ],
)
async def test_no_spelling_of_a_private_address_is_connected_to(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], host: str
) -> None:
    port = site.origin.rpartition(":")[2]
    with pytest.raises(LocalError, match="private network"):
        await fetch(inbound(is_public), tmp_path, f"http://{host}:{port}/pictures/cat.png")
    assert site.requests == []


async def test_a_host_with_a_private_and_a_public_address_is_refused(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound]
) -> None:
    async def find(_: str) -> list[Address]:
        return [ip_address("1.1.1.1"), ip_address("127.0.0.1")]

    with pytest.raises(LocalError, match="private network"):
        await fetch(inbound(is_public, find=find), tmp_path, "http://two-faced.example/x")
    assert site.requests == []


@pytest.mark.parametrize("host", ["pinned.invalid", "PINNED.invalid", "pinned.invalid."])
async def test_the_connection_goes_to_the_checked_address(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], host: str
) -> None:
    """Only the test's own look-up knows the host, because its domain does not exist."""
    asked: list[str] = []

    async def find(name: str) -> list[Address]:
        asked.append(name)
        return [ip_address("127.0.0.1")]

    port = site.origin.rpartition(":")[2]
    file = await fetch(inbound(find=find), tmp_path, f"http://{host}:{port}/pictures/cat.png")
    assert file.size == len(PNG)
    assert asked == ["pinned.invalid"]
    assert site.requests[0].headers["host"] == f"pinned.invalid:{port}"


async def test_the_next_address_of_a_host_is_tried_when_one_refuses_connections(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound]
) -> None:
    async def find(_: str) -> list[Address]:
        return [ip_address("127.0.0.2"), ip_address("127.0.0.1")]

    port = site.origin.rpartition(":")[2]
    assert await fetch(inbound(find=find), tmp_path, f"http://pinned.invalid:{port}/pictures/cat.png")


async def test_redirects_are_followed_and_the_last_address_names_the_file(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound]
) -> None:
    file = await fetch(inbound(), tmp_path, f"{site.origin}/to?url=/pictures/cat.png")
    assert (file.name, file.path.read_bytes()) == ("cat.png", PNG)


async def test_each_redirect_is_checked(tmp_path: Path, site: Site, inbound: Callable[..., Inbound]) -> None:
    def first_only(address: Address) -> bool:
        return str(address) == "127.0.0.1"

    port = site.origin.rpartition(":")[2]
    with pytest.raises(LocalError, match=r"127\.0\.0\.2 is in a private network"):
        await fetch(inbound(first_only), tmp_path, f"{site.origin}/to?url=http://127.0.0.2:{port}/pictures/cat.png")
    assert [request.url.path for request in site.requests] == ["/to"]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "http://["])
async def test_a_redirect_to_another_scheme_is_not_followed(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], url: str
) -> None:
    with pytest.raises(LocalError, match="redirects to an address that cannot be fetched"):
        await fetch(inbound(), tmp_path, f"{site.origin}/to?url={url}")


async def test_a_compressed_response_that_was_not_asked_for_is_decompressed(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound]
) -> None:
    file = await fetch(inbound(), tmp_path, f"{site.origin}/packed?as=gzip")
    assert file.path.read_bytes() == PNG


async def test_endless_redirects_raise_an_error(tmp_path: Path, site: Site, inbound: Callable[..., Inbound]) -> None:
    with pytest.raises(LocalError, match="more than 5 redirects"):
        await fetch(inbound(), tmp_path, f"{site.origin}/round")
    assert len(site.requests) == 6


@pytest.mark.parametrize("path", ["/endless", "/pictures/cat.png"])
async def test_a_file_over_the_size_limit_is_refused_and_leaves_no_file(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], path: str
) -> None:
    with pytest.raises(LocalError, match="larger than 50 bytes"):
        await fetch(inbound(limit=50), tmp_path, site.origin + path)
    assert not list((tmp_path / "unfinished").iterdir())
    assert not (tmp_path / "inputs").exists()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/none", "answered 404"), ("/packed?as=br", "sent it as br"), ("/packed?as=deflate", "cannot be decoded")],
)
async def test_an_error_response_is_named_as_the_reason(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], path: str, reason: str
) -> None:
    with pytest.raises(LocalError, match=reason):
        await fetch(inbound(), tmp_path, site.origin + path)


async def test_the_error_names_a_host_that_is_unknown_or_refuses_connections(
    tmp_path: Path, inbound: Callable[..., Inbound]
) -> None:
    with pytest.raises(LocalError, match=r"no-such-host\.invalid is not a host that can be found"):
        await fetch(inbound(find=lookup), tmp_path, "http://no-such-host.invalid/x?secret=1")
    with bind() as free:
        closed = origin_of(free)
    with pytest.raises(LocalError, match=r"^127\.0\.0\.1: no connection"):
        await fetch(inbound(), tmp_path, closed)


async def test_a_canceled_download_leaves_no_file(tmp_path: Path, site: Site, inbound: Callable[..., Inbound]) -> None:
    task = asyncio.create_task(fetch(inbound(), tmp_path, f"{site.origin}/waits"))
    await site.is_reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list((tmp_path / "unfinished").iterdir())


async def test_a_download_canceled_while_its_file_is_stored_ends_after_that(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound]
) -> None:
    """Otherwise the download could make the folder again after its prediction has removed it."""
    is_begun, may_go, is_done = (threading.Event() for _ in range(3))

    class SlowShelf(PosixPath):
        """A path on a slow disk."""

        def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Path.mkdir
            is_begun.set()
            assert may_go.wait(60)
            super().mkdir(mode, parents, exist_ok)
            is_done.set()

    url = parse_address(f"{site.origin}/pictures/cat.png")
    task = asyncio.create_task(inbound().fetch(url, SlowShelf(tmp_path / "inputs"), "0"))
    assert await asyncio.to_thread(is_begun.wait, 60)
    task.cancel()
    ended, _ = await asyncio.wait([task], timeout=0.1)
    assert not ended
    may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_done.is_set()


async def test_a_download_that_takes_too_long_is_given_up(
    tmp_path: Path, site: Site, inbound: Callable[..., Inbound], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends a byte now and then never stalls, so only a total time limit helps."""
    monkeypatch.setattr("replicate_job.local.files.inbound._TIMEOUT", 0.2)
    for path in ("/endless", "/waits"):
        with pytest.raises(LocalError, match=r"^127\.0\.0\.1 took longer than 0\.2 seconds$"):
            await fetch(inbound(), tmp_path, site.origin + path)
    assert not list((tmp_path / "unfinished").iterdir())
