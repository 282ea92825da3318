"""Fetching output files over HTTP. No token ever comes near this client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyreqwest.exceptions import RedirectError

from replicate_job.errors import OutputError
from replicate_job.http import Exchange, build, chunks, downloader, is_loopback, read_headers, reason
from replicate_job.outputs.download import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Self

    from pyreqwest.client import Client
    from pyreqwest.response import Response as RustResponse

_REDIRECTS = 10


class HttpResponse:
    def __init__(self, response: RustResponse, url: str) -> None:
        self._response, self._url = response, url
        self.status = response.status
        self.headers = read_headers(response)

    def chunks(self) -> AsyncIterator[bytes]:
        return chunks(self._response, shown(self._url))


class HttpFetch:
    """The ``Fetch`` of ``download.save``, over one pool of connections; an async context manager.

    Follows up to 10 redirects, asks for plain bytes, sends no Referer and no credentials; 10 s to connect, 60 s
    between two reads. Honours ``HTTP_PROXY`` and its kin, except for this machine itself.
    """

    def __init__(self) -> None:
        self._clients: dict[bool, Client] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.close()

    @asynccontextmanager
    async def __call__(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[HttpResponse]:
        """Raises NotSentError, NoAnswerError, or OutputError for an address or redirects that lead nowhere."""
        try:
            host = urlsplit(url).hostname or ""
            # Nothing is read ahead: a body that breaks early is still an answer, with the bytes that came.
            request = self._client(host).get(url).headers(headers).streamed_read_buffer_limit(0).build_streamed()
        except ValueError as error:  # pyreqwest's BuilderError is one
            raise OutputError(f"{shown(url)} is not an address that can be fetched") from error
        try:
            with Exchange(f"GET {shown(url)}"):
                response = await request.__aenter__()
            try:
                yield HttpResponse(response, url)
            finally:
                await request.__aexit__(None, None, None)
        except RedirectError as error:
            raise OutputError(f"{shown(url)} leads nowhere: {reason(error)}") from error

    def _client(self, host: str) -> Client:
        """Built at first use: it reads the system's certificates."""
        direct = is_loopback(host)
        if direct not in self._clients:
            builder = downloader().follow_redirects(True).max_redirects(_REDIRECTS)
            self._clients[direct] = build(builder.no_proxy() if direct else builder)
        return self._clients[direct]
