"""The one place that sends requests to the API, and the only one that knows the token."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import urlsplit

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import Url
from pyreqwest.multipart import FormBuilder
from pyreqwest.request import RequestBuilder

from replicate_job.errors import JobError, NotSentError
from replicate_job.http import Exchange, build, is_loopback, read_headers
from replicate_job.settings import DEFAULT_BASE_URL

CONNECT_TIMEOUT = 10.0
# Between two bytes. Longer than the longest hold of a create (60 s), which may send nothing until it ends.
READ_TIMEOUT = 95.0
# Shorter than the idle time of usual load balancers (60 s): a create sent on a connection that the
# other side is just closing would be an ambiguous one.
POOL_IDLE = 20.0
JUDGED = 64
"""Addresses that are remembered: creates go to the same one a million times."""
FAULTY = 300
"""The first status that is no success."""
SHOWN = 200
"""Characters of an address that a message repeats."""
PLAUSIBLE_OFFSET = 366 * 24 * 3600.0


class Response(msgspec.Struct, frozen=True):
    """An answer read to its end. ``headers``, by names in lower case, are those of answers that are errors."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends to one API with one token; the token goes to that API's origin only, over any redirect or link.

    ``base_url`` is with or without ``/v1``. Use it as an async context manager.
    """

    def __init__(self, base_url: str, token: str | None, *, user_agent: str) -> None:
        self.base_url = normalize(base_url)
        self._origin = Url(self.base_url).origin_ascii
        self._token = token
        self._client = self._build(user_agent)
        self._clock_offset: float | None = None
        self._date: str | None = ""
        self._judged: dict[str, tuple[Url, bool]] = {}

    def _build(self, user_agent: str) -> Client:
        builder = (
            ClientBuilder()
            .user_agent(user_agent)
            .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT))
            .read_timeout(timedelta(seconds=READ_TIMEOUT))
            .pool_idle_timeout(timedelta(seconds=POOL_IDLE))
            .follow_redirects(False)
            .referer(False)
        )
        return build(builder.no_proxy() if is_loopback(urlsplit(self.base_url).hostname) else builder)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.close()

    @property
    def clock_offset(self) -> float | None:
        """Seconds that the API's clock is ahead of this machine's, to a second; None before the first answer."""
        return self._clock_offset

    async def send(  # noqa: PLR0913 - one argument a part of a request
        self,
        method: str,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the deadline is enforced below asyncio, in the Rust client
        body: bytes | None = None,
        form: FormBuilder | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send once. ``path`` is relative to the base URL (``/predictions``), or a whole URL that the API gave.

        Raises NotSentError when no connection was made, NoAnswerError for everything after that: then the
        request may have been acted upon.
        """
        with Exchange(f"{method} {self.base_url}{path.partition('?')[0]}"):
            request = self._request(method, path, headers or {}).timeout(timedelta(seconds=timeout))
            if body is not None:
                request = request.header("content-type", "application/json").body_bytes(body)
            if form is not None:
                request = request.multipart(form)
            response = await request.build().send()
            payload = bytes(await response.bytes())
        with suppress(ValueError):  # what is no text is no date
            self._note_date(response.get_header("date"))
        return Response(response.status, read_headers(response) if response.status >= FAULTY else {}, payload)

    @asynccontextmanager
    async def stream(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a GET whose body is read as it comes: its status and its chunks. Raises as ``send`` does."""
        what = f"GET {url.partition('?')[0][:SHOWN]}"
        with Exchange(what):
            request = self._request("GET", url, headers).streamed_read_buffer_limit(0).build_streamed()
            response = await request.__aenter__()

        async def chunks() -> AsyncIterator[bytes]:
            while True:
                with Exchange(what):
                    chunk = await response.body_reader.read_chunk()
                if chunk is None:
                    return
                yield bytes(chunk)

        try:
            yield response.status, chunks()
        finally:
            await request.__aexit__(None, None, None)

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> RequestBuilder:
        whole = path if "://" in path else self.base_url + path
        try:
            url, is_own = self._judge(whole)
            request = self._client.request(method, url).headers(dict(headers))
        except ValueError as error:
            raise NotSentError(f"{method} {whole}: no address that can be asked ({error})") from None
        if self._token and is_own:
            request = request.header("authorization", f"Bearer {self._token}", is_sensitive=True)
        return request

    def _judge(self, whole: str) -> tuple[Url, bool]:
        """The address, and whether it is the API's own. Raises ValueError."""
        if (known := self._judged.get(whole)) is None:
            # Whose address it is, the parser says that also sends: two parsers can read one text as two hosts.
            url = Url(whole)
            known = url, url.origin_ascii == self._origin
            if len(self._judged) < JUDGED:
                self._judged[whole] = known
        return known

    def _note_date(self, date: str | None) -> None:
        if date == self._date:  # a second's answers all say the same
            return
        self._date = date
        try:
            offset = parsedate_to_datetime(date or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            offset = math.inf
        # A clock that is years off is no clock.
        self._clock_offset = offset if abs(offset) < PLAUSIBLE_OFFSET else self._clock_offset or 0.0


def normalize(base_url: str) -> str:
    """Give the base URL its ``/v1`` and no slash at the end. Raises JobError for what is not an http(s) URL."""
    wrong = JobError(f"REPLICATE_BASE_URL is {base_url!r}: it must be like {DEFAULT_BASE_URL}")
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
        url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        url = url if url.endswith("/v1") else url + "/v1"
        Url(url)
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise wrong
    if parts.username or parts.password:
        raise JobError("REPLICATE_BASE_URL holds a user name or password: put the token in REPLICATE_API_TOKEN")
    return url
