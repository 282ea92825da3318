"""Fetches the files that an input names by http(s) addresses, and lets nobody use that to reach into private networks.

A host's addresses are looked up here, each is judged, and the connection goes to one of those that were judged: a
name that leads elsewhere a moment later changes nothing. Each redirect is judged anew. No proxy, no cookie, no token.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pyreqwest.http import Url

from replicate_job.address import lookup
from replicate_job.aio import in_thread
from replicate_job.coding import ZLIBS, coding_of, decoded
from replicate_job.errors import LocalError, NotSentError, TransportError
from replicate_job.http import Exchange, build, chunks, pinned, read_headers
from replicate_job.local.files.file_store import FileTooLargeError, safe_name
from replicate_job.wire.media import ESSENCE, UNKNOWN, extension
from replicate_job.wire.signature import sniff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from pyreqwest.client import Client
    from pyreqwest.response import Response

    from replicate_job.address import Address
    from replicate_job.local.files.file_store import Draft, Drafts, StoredFile

LARGEST = 1_000_000_000
"""Bytes of a fetched input. Replicate names no limit; this one keeps a disk from being filled by one address."""

_WHOLE = 600  # seconds for one file with all its redirects
_REDIRECTS = 5
_TRIED = 4  # addresses of one host
_MOVED = {301, 302, 303, 307, 308}
_OK = 200
_SUFFIX = re.compile(r".+\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,12}", re.ASCII)
_CONTENT_TYPE = re.compile(ESSENCE, re.ASCII)


class Inbound:
    """``admits`` says which addresses may be connected to; ``find`` gives a host's, and may raise OSError."""

    def __init__(
        self,
        drafts: Drafts,
        admits: Callable[[Address], bool],
        *,
        find: Callable[[str], Awaitable[list[Address]]] = lookup,
        limit: int = LARGEST,
    ) -> None:
        self._drafts, self._admits, self._find, self._limit = drafts, admits, find, limit

    async def fetch(self, url: Url, shelf: Path, key: str) -> StoredFile:
        """The file behind the address, in its place on the shelf, whose name is the file's ``id``.

        Raises LocalError with the reason.
        """
        try:
            async with asyncio.timeout(_WHOLE):
                return await self._follow(url, shelf, key)
        except TimeoutError:
            raise LocalError(f"{url.host_str} took longer than {_WHOLE} seconds") from None
        except TransportError as error:
            raise LocalError(str(error)) from None
        except FileTooLargeError as error:
            raise LocalError(f"the file at {url.host_str} cannot be taken: {error}") from None
        except OSError as error:
            raise LocalError(f"the file cannot be written: {error.strerror or error}") from error

    async def _follow(self, url: Url, shelf: Path, key: str) -> StoredFile:
        for _ in range(_REDIRECTS + 1):
            async with self._open(url) as response:
                headers = read_headers(response)
                if response.status in _MOVED and "location" in headers:
                    url = _join(url, headers["location"])
                    continue
                _check(response.status, headers, url, self._limit)
                async with self._drafts.filled(_content(response, headers, url), self._limit) as draft:
                    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
                    kind = kind if _CONTENT_TYPE.fullmatch(kind) else sniff(draft.head) or UNKNOWN
                    facts = {"id": shelf.name, "name": _name(url, kind, draft), "content_type": kind}
                    return await in_thread(partial(draft.keep, shelf, key, created_at=time.time(), **facts))
        raise LocalError(f"{url.host_str}: more than {_REDIRECTS} redirects")

    @asynccontextmanager
    async def _open(self, url: Url) -> AsyncIterator[Response]:
        """The answer to a request that goes to an address which was judged."""
        url, host = _plain(url)
        try:
            found = await self._find(host)
        except OSError:
            found = []
        if not all(map(self._admits, found)):
            raise LocalError(
                f"{host} is in a private network or on this machine, where http inputs do not reach: send a data URL, "
                "upload the file, or start the server with --allow-private"
            )
        async with AsyncExitStack() as stack:
            yield await _connect(stack, url, host, found[:_TRIED])


async def _connect(stack: AsyncExitStack, url: Url, host: str, addresses: list[Address]) -> Response:
    """The answer of the first address that takes a connection; it and its client end with the stack."""
    for number, address in enumerate(addresses, 1):
        # Reading the system's certificates takes 10 ms: not in the event loop.
        client = await stack.enter_async_context(await asyncio.to_thread(_client, host, address))
        request = client.get(str(url)).header("accept-encoding", "identity").streamed_read_buffer_limit(0)
        try:
            with Exchange(host):
                return await stack.enter_async_context(request.build_streamed())
        except NotSentError:
            if number == len(addresses):
                raise
    raise LocalError(f"{host} is not a host that can be found")


def parse_address(text: str) -> Url:
    """The one reading of an address that is both judged and fetched. Raises LocalError."""
    try:
        url = Url(text)
    except ValueError as error:
        raise LocalError(f"it is not an address: {error}") from None
    if url.scheme not in {"http", "https"}:
        raise LocalError(f"{url.scheme} is not http or https")
    return url


def _join(url: Url, location: str) -> Url:
    try:
        return parse_address(str(url.join(location)))
    except (ValueError, LocalError) as error:
        raise LocalError(f"{url.host_str} redirects to what cannot be fetched: {error}") from None


def _plain(url: Url) -> tuple[Url, str]:
    """With the host's name as it is pinned: without the dot of a complete name, under which it would be looked up."""
    host = (url.host_str or "").rstrip(".")
    return (url if host == url.host_str else url.with_host(host)), host


def _client(host: str, address: Address) -> Client:
    return build(pinned(host, address).follow_redirects(False))


def _check(status: int, headers: dict[str, str], url: Url, limit: int) -> None:
    if status != _OK:
        raise LocalError(f"{url.host_str} answered {status}")
    coding = coding_of(headers)
    if coding and coding not in ZLIBS:
        raise LocalError(f"{url.host_str} sent it as {coding} though plain bytes were asked for")
    length = headers.get("content-length", "").strip()
    if length.isascii() and length.isdigit() and int(length[:19]) > limit:
        raise FileTooLargeError(f"it is larger than {limit:,} bytes")


def _content(response: Response, headers: dict[str, str], url: Url) -> AsyncIterator[bytes]:
    """The file's own bytes, also where the host compresses them although plain ones were asked for."""
    found, coding = chunks(response, url.host_str or ""), coding_of(headers)
    return decoded(found, coding) if coding else found


def _name(url: Url, content_type: str, draft: Draft) -> str:
    """The last part of the address; models look at suffixes, so it gets one where it has none."""
    name = safe_name(unquote(url.path.rstrip("/").rpartition("/")[2]), "input")
    if _SUFFIX.fullmatch(name):
        return name
    return name + (extension(content_type) or extension(sniff(draft.head) or "") or "")
