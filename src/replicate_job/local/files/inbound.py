"""Downloads input files from http(s) addresses, but not from private networks.

A host's IP addresses are looked up and checked here, and the connection goes to one of the checked addresses. So a name
that resolves to another address later has no effect (DNS rebinding). Each redirect is checked too. No proxy, cookie or
token is used.
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
"""The most bytes of an input file. Replicate documents no limit. This limit prevents a file from filling the disk."""

_TIMEOUT = 600  # seconds, for one file with all its redirects
_MOST_REDIRECTS = 5
_MOST_ADDRESSES = 4  # IP addresses of one host that are tried
_REDIRECTS = {301, 302, 303, 307, 308}
_OK = 200
_SUFFIX = re.compile(r".+\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,12}", re.ASCII)
_CONTENT_TYPE = re.compile(ESSENCE, re.ASCII)


class Inbound:
    """Downloads files to ``drafts``, of at most ``limit`` bytes.

    ``is_allowed`` decides whether an IP address may be connected to. ``find`` looks up the addresses of a host, and may
    raise OSError.
    """

    def __init__(
        self,
        drafts: Drafts,
        is_allowed: Callable[[Address], bool],
        *,
        find: Callable[[str], Awaitable[list[Address]]] = lookup,
        limit: int = LARGEST,
    ) -> None:
        self._drafts, self._is_allowed, self._find, self._limit = drafts, is_allowed, find, limit

    async def fetch(self, url: Url, parent: Path, key: str) -> StoredFile:
        """Download a file, and store it as ``parent/key``. The name of ``parent`` becomes the file's ``id``.

        Raises LocalError with the reason.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await self._follow(url, parent, key)
        except TimeoutError:
            raise LocalError(f"{url.host_str} took longer than {_TIMEOUT} seconds") from None
        except TransportError as error:
            raise LocalError(str(error)) from None
        except FileTooLargeError as error:
            raise LocalError(f"the file at {url.host_str} cannot be taken: {error}") from None
        except OSError as error:
            raise LocalError(f"the file cannot be written: {error.strerror or error}") from error

    async def _follow(self, url: Url, parent: Path, key: str) -> StoredFile:
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._open(url) as response:
                headers = read_headers(response)
                if response.status in _REDIRECTS and "location" in headers:
                    url = _join(url, headers["location"])
                    continue
                _check(response.status, headers, url, self._limit)
                async with self._drafts.filled(_content(response, headers, url), self._limit) as draft:
                    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
                    kind = kind if _CONTENT_TYPE.fullmatch(kind) else sniff(draft.head) or UNKNOWN
                    facts = {"id": parent.name, "name": _name(url, kind, draft), "content_type": kind}
                    return await in_thread(partial(draft.store, parent, key, created_at=time.time(), **facts))
        raise LocalError(f"{url.host_str}: more than {_MOST_REDIRECTS} redirects")

    @asynccontextmanager
    async def _open(self, url: Url) -> AsyncIterator[Response]:
        """Request the URL at an allowed IP address, and yield the response. Raises LocalError if one is not allowed."""
        url, host = _without_final_dot(url)
        try:
            addresses = await self._find(host)
        except OSError:
            addresses = []
        if not all(map(self._is_allowed, addresses)):
            raise LocalError(
                f"{host} is in a private network or on this machine, where http inputs do not reach: send a data URL, "
                "upload the file, or start the server with `replicate-job serve --allow-private`"
            )
        async with AsyncExitStack() as stack:
            yield await _connect(stack, url, host, addresses[:_MOST_ADDRESSES])


async def _connect(stack: AsyncExitStack, url: Url, host: str, addresses: list[Address]) -> Response:
    """The response from the first IP address that accepts a connection. The stack closes response and client."""
    for number, address in enumerate(addresses, 1):
        # In a thread, because reading the system's certificates takes 10 ms.
        client = await stack.enter_async_context(await asyncio.to_thread(_client, url, host, address))
        request = client.get(str(url)).header("accept-encoding", "identity").streamed_read_buffer_limit(0)
        try:
            with Exchange(host):
                return await stack.enter_async_context(request.build_streamed())
        except NotSentError:
            if number == len(addresses):
                raise
    raise LocalError(f"{host} is not a host that can be found")


def parse_address(text: str) -> Url:
    """Parse an address with the parser of the HTTP library, so that the checked URL is requested. Raises LocalError."""
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
        raise LocalError(f"{url.host_str} redirects to an address that cannot be fetched: {error}") from None


def _without_final_dot(url: Url) -> tuple[Url, str]:
    """The URL and its host without the final dot of a fully qualified name.

    The checked addresses are pinned to the host without that dot. Otherwise the HTTP library would look it up again.
    """
    host = (url.host_str or "").rstrip(".")
    return (url if host == url.host_str else url.with_host(host)), host


def _client(url: Url, host: str, address: Address) -> Client:
    return build(pinned(host, address).follow_redirects(False), https=url.scheme == "https")


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
    """The file's bytes, decompressed if the host compresses them although the request asks for plain bytes."""
    body, coding = chunks(response, url.host_str or ""), coding_of(headers)
    return decoded(body, coding) if coding else body


def _name(url: Url, content_type: str, draft: Draft) -> str:
    """The last part of the address. A missing suffix is added by the file's type, because models look at suffixes."""
    name = safe_name(unquote(url.path.rstrip("/").rpartition("/")[2]), "input")
    if _SUFFIX.fullmatch(name):
        return name
    return name + (extension(content_type) or extension(sniff(draft.head) or "") or "")
