"""Sends the requests to the API. No other module sends requests to the API, or sends the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Self
from urllib.parse import urlsplit

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import HeaderMap, Url
from pyreqwest.multipart import FormBuilder
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response as RustResponse

from replicate_job.api.ratelimit import Quota, read_quota
from replicate_job.clock import Clock, SystemClock
from replicate_job.errors import AnswerTooLargeError, JobError, NotSentError
from replicate_job.http import Exchange, build, check_certificates, is_loopback, read_headers
from replicate_job.settings import DEFAULT_BASE_URL
from replicate_job.wire.bounds import LARGEST, is_heavy
from replicate_job.wire.http_date import read_http_date

CONNECT_TIMEOUT = 5.0
"""The most seconds that connecting may take: a third of a claim's lease. A request that is sent with this much of the
lease left arrives before the lease ends."""
# The most seconds between two bytes of a response. A blocking wait of 60 s can pass without a byte.
READ_TIMEOUT = 95.0
# Seconds after which an idle connection is closed. Load balancers usually close one after 60 s, and a create request
# sent at that moment would have an unknown outcome.
POOL_IDLE = 20.0
Guard = Callable[[], None]
"""Raises NotSentError if a request must not be sent any more."""
CACHED = 64
"""The number of parsed URLs, and of sets of headers, that are cached: a batch sends a million create requests to one
URL."""
COPIED = 65536
"""A request body of at most this many bytes is copied into the HTTP library. A larger one is passed without a copy."""
FAULTY = 300
"""The lowest status that is not a success."""
SHORT = 8
"""A secret of fewer characters is not hidden in answers, since it may be a usual word."""
SCHEMES = ("bearer ", "basic ", "token ")
"""The beginnings of a header's value that are followed by the secret."""
SHOWN = 200
"""The most characters of a URL in a message."""
EPOCHS = (1577836800.0, 4102444800.0)
"""Unix times (2020 to 2100). A ``Date`` outside of them is ignored."""
MOVED = frozenset({301, 302, 307, 308})
"""Redirect statuses that are followed for a GET."""
MOST_MOVES = 6
"""The most requests that are sent in a row while each answer is a redirect."""
NONE: Mapping[str, str] = MappingProxyType({})
ONCE: Mapping[str, Mapping[str, str]] = {
    "gateway.ai.cloudflare.com": {"cf-aig-max-attempts": "1", "cf-aig-skip-cache": "true"}
}
"""Gateway hosts, with the headers that turn off their retries and caches.

A retried create request is paid for twice. A cached answer to a create request, or a cached list, hides predictions.
From https://developers.cloudflare.com/ai-gateway/.
"""
PORTION = 1024**2
"""The number of bytes of a body in one read. Usual responses are smaller. Only this much of an error is read."""


class Response(msgspec.Struct, frozen=True):
    """``headers`` has names in lower case, and is empty for a success.

    ``cut``: the response was too large, and ``body`` is only its beginning. ``quota`` is from its rate-limit headers.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    quota: Quota | None = None


class Transport:
    """Sends to one API with one token. The token goes only to that API's origin, whatever redirects or links say.

    ``base_url`` may have ``/v1`` or not. ``headers``, with names in lower case, are sent to the same origin as the
    token. Use it as an async context manager.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        user_agent: str,
        headers: Mapping[str, str] = NONE,
        clock: Clock = SystemClock(),  # noqa: B008 - sharing one is safe: it has no state
    ) -> None:
        self.base_url = normalize(base_url)
        url = Url(self.base_url)
        self._origin = url.origin_ascii
        if url.scheme == "https":
            check_certificates()
        self._secrets = {**headers, **ONCE.get((url.host_str or "").rstrip("."), {})}
        if token:
            self._secrets["authorization"] = f"Bearer {token}"
        self._hidden = _spellings(self._secrets.values())
        self._client = self._build(user_agent)
        self._clock = clock
        self._ahead: float | None = None
        self._date: str | None = ""
        self._judged: dict[str, tuple[Url, bool]] = {}
        self._known_headers: dict[tuple[object, ...], HeaderMap] = {}
        self._large = asyncio.Lock()

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
        parts = urlsplit(self.base_url)
        return build(builder.no_proxy() if is_loopback(parts.hostname) else builder, https=parts.scheme == "https")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self._client.close()
        finally:
            del self._client  # the library closes idle connections when the last reference is gone

    @property
    def api_time(self) -> float | None:
        """The API's current time (Unix seconds, to a second). None before the first response.

        It advances with this machine's monotonic clock, so setting the wall clock does not change it.
        """
        return None if self._ahead is None else self._clock.now() + self._ahead

    async def send(  # noqa: PLR0913 - the request's parts
        self,
        method: str,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the HTTP library enforces it
        body: bytes | None = None,
        form: FormBuilder | None = None,
        headers: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Response:
        """Send a request once. ``path`` is relative to the base URL (``/predictions``), or a whole URL from the API.

        A GET follows redirects within the API's origin, for example for a renamed model. Any other redirect is returned
        as the response. ``guard`` is called right before the request connects; if it raises, no request is sent. Raises
        NotSentError if no connection was made, and NoAnswerError for any failure after that: the API may have acted on
        the request.
        """
        headers = headers or NONE
        if body is not None and "content-type" not in headers:
            headers = {"content-type": "application/json", **headers}
        for _ in range(MOST_MOVES):
            with Exchange(f"{method} {self._whole(path).partition('?')[0][:SHOWN]}"):
                request = self._request(method, path, headers).timeout(_duration(timeout))
                if body is not None:
                    request = _with_body(request, body)
                if form is not None:
                    request = request.multipart(form)
                response = await self._exchange(request, guard)
            target = self._moved(path, response) if method == "GET" else None
            if target is None:
                break
            path = target
        return response

    async def _exchange(self, request: RequestBuilder, guard: Guard | None) -> Response:
        exchange = request.build_streamed()
        if guard:
            guard()
        response = await exchange.__aenter__()
        is_whole = False
        try:
            payload, cut = await self._read(response)
            is_whole = not cut
        finally:
            if not is_whole:  # a body that was read to its end is closed
                await exchange.__aexit__(None, None, None)
        quota, received = None, response.headers
        try:
            self._note_date(received.get("date"))
            quota = read_quota(received.get("ratelimit-remaining"), received.get("ratelimit-reset"))
        except ValueError:  # a header that cannot be decoded
            pass
        if response.status < FAULTY:
            return Response(response.status, {}, payload, cut, quota)
        return Response(response.status, read_headers(response), self._hide(payload), cut, quota)

    def _hide(self, body: bytes) -> bytes:
        """The body of an error without the secrets of the request, since the error is shown and stored."""
        for spelling in self._hidden:
            body = body.replace(spelling, b"***")
        return body

    def _moved(self, path: str, response: Response) -> str | None:
        """The redirect's target if it has the API's origin; else None."""
        if response.status not in MOVED or "location" not in response.headers:
            return None
        try:
            target = Url(self._whole(path)).join(response.headers["location"])
        except ValueError:
            return None
        return str(target) if target.origin_ascii == self._origin else None

    async def _read(self, response: RustResponse) -> tuple[bytes, bool]:
        """Read the body. Returns the body, and whether it was cut off because it is too large, or is a long error.

        Large bodies are read one at a time, so that all together stay within the size limit.
        """
        portion = await response.body_reader.read(PORTION) or b""
        if len(portion) < PORTION:
            return bytes(portion), False
        if response.status >= FAULTY:
            return bytes(portion), True
        portions, size = [portion], len(portion)
        async with self._large:
            while portion and size <= LARGEST:
                portion = await response.body_reader.read(PORTION) or b""
                portions.append(portion)
                size += len(portion)
            if size > LARGEST:
                return bytes(portions[0]), True
            body = b"".join(portions)
            return (body[:PORTION], True) if is_heavy(body) else (body, False)

    @asynccontextmanager
    async def stream(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a GET whose body is read as it comes. Yields the status and the body's chunks, up to ``LARGEST`` bytes.

        Raises the same errors as ``send``, and AnswerTooLargeError.
        """
        what = f"GET {url.partition('?')[0][:SHOWN]}"
        with Exchange(what):
            request = self._request("GET", url, headers).streamed_read_buffer_limit(0).build_streamed()
            response = await request.__aenter__()

        async def chunks() -> AsyncIterator[bytes]:
            size = 0
            while True:
                with Exchange(what):
                    chunk = await response.body_reader.read_chunk()
                if chunk is None:
                    return
                size += len(chunk)
                if size > LARGEST:
                    raise AnswerTooLargeError(f"{what}: more than {LARGEST // 1024**2} MB came")
                yield self._hide(bytes(chunk)) if response.status >= FAULTY else bytes(chunk)

        try:
            yield response.status, chunks()
        finally:
            await request.__aexit__(None, None, None)

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> RequestBuilder:
        whole = self._whole(path)
        try:
            url, is_own = self._judge(whole)
            return self._client.request(method, url).headers(self._headers(headers, is_own=is_own))
        except ValueError as error:
            raise NotSentError(f"{method} {whole}: this is not a valid address ({error})") from None

    def _headers(self, headers: Mapping[str, str], *, is_own: bool) -> HeaderMap:
        """The headers of a request, with the secrets if it goes to the API's origin. Raises ValueError."""
        place = is_own, *headers.items()
        if (known := self._known_headers.get(place)) is None:
            known = HeaderMap(dict(headers))
            for name, value in self._secrets.items() if is_own else ():
                if name not in headers:
                    known.append(name, value, is_sensitive=True)
            if len(self._known_headers) < CACHED:
                self._known_headers[place] = known
        return known

    def _whole(self, path: str) -> str:
        return path if "://" in path else self.base_url + path

    def _judge(self, text: str) -> tuple[Url, bool]:
        """The parsed URL, and whether it has the API's origin. Raises ValueError."""
        if (known := self._judged.get(text)) is None:
            # One parser both decides about the origin and is used to send: two parsers may read different hosts.
            url = Url(text)
            known = url, url.origin_ascii == self._origin
            if len(self._judged) < CACHED:
                self._judged[text] = known
        return known

    def _note_date(self, date: str | None) -> None:
        if date == self._date:  # responses within the same second have the same date
            return
        self._date = date
        try:
            unix = read_http_date(date or "").timestamp()
        except (ValueError, OverflowError):
            return  # keep the time of an earlier response
        if EPOCHS[0] <= unix <= EPOCHS[1]:
            self._ahead = unix - self._clock.now()


def _spellings(values: Iterable[str]) -> list[bytes]:
    """The spellings of secret header values in an answer: as they are, and as texts in JSON. The longest come first."""
    secrets: set[str] = set()
    for value in values:
        scheme = next((scheme for scheme in SCHEMES if value.lower().startswith(scheme)), "")
        secrets.add(value[len(scheme) :].strip())
    spelled = {
        spelling
        for secret in secrets
        if len(secret) >= SHORT
        for text in (secret, msgspec.json.encode(secret).decode()[1:-1])
        for spelling in (text.encode(), text.replace("/", "\\/").encode())
    }
    return sorted(spelled, key=len, reverse=True)


@lru_cache
def _duration(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _with_body(request: RequestBuilder, body: bytes) -> RequestBuilder:
    """Add a body, which is usually JSON. A short body is passed as text, which is faster.

    The library copies a text. It refers to bytes without a copy, and to release them, its own thread waits for the
    interpreter's lock. That takes longer than a short copy.
    """
    if len(body) <= COPIED:
        with suppress(UnicodeDecodeError):
            return request.body_text(body.decode())
    return request.body_bytes(body)


def normalize(base_url: str) -> str:
    """Remove a slash at the end of the base URL, and add ``/v1`` if the URL has no path.

    Raises JobError for a URL that is not http(s), or that has a user name, a query or a fragment.

    Any path is left as it is: a gateway's path replaces the API's ``/v1``.
    """
    wrong = JobError(f"REPLICATE_BASE_URL is {base_url!r}: it must be like {DEFAULT_BASE_URL}")
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
        url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"
        Url(url)
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise wrong
    if parts.username or parts.password:
        raise JobError("REPLICATE_BASE_URL holds a user name or password: put the token in REPLICATE_API_TOKEN")
    return url
