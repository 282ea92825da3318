"""Downloads output files over HTTP. This client never has the API token."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from pyreqwest.http import Url
from pyreqwest.proxy import ProxyBuilder

from replicate_job.coding import LIBRARYS, coding_of, decoded
from replicate_job.errors import NotSentError, OutputError
from replicate_job.http import Exchange, build, chunks, downloader, is_loopback, pinned, read_headers, shown
from replicate_job.outputs.reach import host_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Self

    from pyreqwest.client import Client
    from pyreqwest.response import Response as RustResponse

    from replicate_job.outputs.reach import Reach, Route

_REDIRECTS = 10
_MOVED = {301, 302, 303, 307, 308}
_CLIENTS = 64
"""The most clients that are open. Each client is a connection pool. A client pinned to an address serves one host."""


class HttpResponse:
    """A response. ``coding`` is the Content-Encoding that the HTTP library decodes; empty if it decodes nothing."""

    def __init__(self, response: RustResponse, url: str, coding: str = "") -> None:
        self._response, self._url = response, url
        self.status, self.headers = response.status, read_headers(response)
        self._is_decoded = bool(coding) and not coding_of(self.headers)
        if self._is_decoded:
            self.headers["content-encoding"] = coding

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the file, decoded if the host compressed them."""
        found, coding = chunks(self._response, shown(self._url)), coding_of(self.headers)
        return decoded(found, coding) if coding and not self._is_decoded else found


class _Way(msgspec.Struct, frozen=True):
    """How a client connects: directly, through ``proxy``, or to ``address`` for ``host``. Equal ways share a client."""

    is_direct: bool = False
    proxy: str = ""
    host: str = ""
    address: str = ""
    https: bool = False
    decodes: bool = False


class HttpFetch:
    """The ``Fetch`` of ``download.save``, with connection pools; an async context manager.

    Follows up to 10 redirects. ``reach`` checks the host of each redirect, and the connection goes to the same address
    that was checked. Requests uncompressed content, but decodes a response that is compressed. Sends no Referer
    and no credentials, not even those in a URL. Allows 10 s to connect and 60 s between two reads. Uses the proxy of
    ``HTTP_PROXY`` and similar variables, except for hosts on this machine.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._clients: dict[_Way, Client] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            while self._clients:  # the library closes idle connections when the last reference is gone
                await self._clients.popitem()[1].close()
        finally:
            self._clients.clear()

    @asynccontextmanager
    async def __call__(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[HttpResponse]:
        """Raises NotSentError, NoAnswerError, or OutputError for a malformed URL or too many redirects."""
        async with AsyncExitStack() as stack:
            response = await self._follow(stack, url, headers)
            coding = coding_of(read_headers(response))
            if coding in LIBRARYS:
                # Only the library can decode this coding, while it reads. So a client that decodes sends the request
                # again.
                await stack.aclose()
                yield HttpResponse(await self._follow(stack, url, headers, decodes=True), url, coding)
            else:
                yield HttpResponse(response, url)

    async def _follow(
        self, stack: AsyncExitStack, url: str, headers: Mapping[str, str], *, decodes: bool = False
    ) -> RustResponse:
        """The response after all redirects. The stack closes it."""
        here = _address(url, url)
        for _ in range(_REDIRECTS + 1):
            route = await self._reach.route(here)
            response = await self._open(stack, here, route, headers, decodes=decodes)
            target = read_headers(response).get("location")
            if response.status not in _MOVED or target is None:
                return response
            await stack.aclose()
            here = _address(target, url, here)
        raise OutputError(f"{shown(url)} leads nowhere: more than {_REDIRECTS} redirects")

    async def _open(
        self, stack: AsyncExitStack, url: Url, route: Route, headers: Mapping[str, str], *, decodes: bool
    ) -> RustResponse:
        """The response from the first address that accepts a connection."""
        host = host_of(url)
        make = partial(_Way, https=url.scheme == "https", decodes=decodes)
        ways = [make(is_loopback(host), route.proxy)]
        if route.addresses:
            ways = [make(host=host, address=str(address)) for address in route.addresses]
        for way in ways[:-1]:
            with suppress(NotSentError):
                return await self._ask(stack, way, url, headers)
        return await self._ask(stack, ways[-1], url, headers)

    async def _ask(self, stack: AsyncExitStack, way: _Way, url: Url, headers: Mapping[str, str]) -> RustResponse:
        # The library does not read ahead, so that a body that breaks off still yields the bytes that came before.
        request = (await self._client(way)).get(url).headers(dict(headers)).streamed_read_buffer_limit(0)
        with Exchange(f"GET {shown(str(url))}"):
            return await stack.enter_async_context(request.build_streamed())

    async def _client(self, way: _Way) -> Client:
        if way not in self._clients:
            # Loading the system's certificates takes 10 ms, too long for the event loop.
            built = await asyncio.to_thread(_build, way)
            if len(self._clients) >= _CLIENTS:
                # The client that was built first is removed. Its connections close after their last transfer.
                del self._clients[next(iter(self._clients))]
            self._clients.setdefault(way, built)
        return self._clients[way]


def _build(way: _Way) -> Client:
    if way.address:
        builder = pinned(way.host, way.address)
    elif way.proxy:
        builder = downloader().no_proxy().proxy(ProxyBuilder.all(way.proxy))
    else:
        builder = downloader().no_proxy() if way.is_direct else downloader()
    if way.decodes:
        builder = builder.brotli(True).zstd(True)
    return build(builder.follow_redirects(False), https=way.https)


def _address(text: str, first: str, base: Url | None = None) -> Url:
    """The URL without user and password. It is parsed once, so that the request uses the same URL that was checked.

    Raises OutputError for a malformed URL. The message names ``first``, the output's URL before redirects.
    """
    try:
        url = base.join(text) if base else Url(text)
    except ValueError:
        url = None
    if url is None or url.scheme not in {"http", "https"} or not url.host_str:
        kind = "leads nowhere: it redirects to a malformed address" if base else "is not an address that can be fetched"
        raise OutputError(f"{shown(first)} {kind}")
    # The final dot of a host name is removed: with it, the host would be looked up again although its client is pinned
    # to an address.
    bare = url.with_username("").with_password(None)
    return bare.with_host(bare.host_str.rstrip(".")) if bare.host_str and bare.host_str.endswith(".") else bare
