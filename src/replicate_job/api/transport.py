"""The one place that sends requests to the API, and the only one that knows the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
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
from pyreqwest.response import Response as RustResponse

from replicate_job.clock import Clock, SystemClock
from replicate_job.errors import AnswerTooLargeError, JobError, NotSentError
from replicate_job.http import Exchange, build, is_loopback, read_headers
from replicate_job.settings import DEFAULT_BASE_URL
from replicate_job.wire.bounds import LARGEST, is_heavy

CONNECT_TIMEOUT = 5.0
"""Seconds. A third of a claim's lease: what is sent while that much is left arrives before another may take over."""
# Between two bytes. Longer than the longest hold of a create (60 s), which may send nothing until it ends.
READ_TIMEOUT = 95.0
# Shorter than the idle time of usual load balancers (60 s): a create sent on a connection that the
# other side is just closing would be an ambiguous one.
POOL_IDLE = 20.0
Guard = Callable[[], None]
"""Raises NotSentError where a request must not be sent any more."""
JUDGED = 64
"""Addresses that are remembered: creates go to the same one a million times."""
FAULTY = 300
"""The first status that is no success."""
SHOWN = 200
"""Characters of an address that a message repeats."""
EPOCHS = (1577836800.0, 4102444800.0)
"""Unix times (2020 to 2100) between which an API's clock can be believed to be one."""
PORTION = 1024**2
"""Bytes of a body that are read at once. Usual answers are smaller; of an error no more is read."""


class Response(msgspec.Struct, frozen=True):
    """``headers``, by names in lower case, are those of answers that are errors.

    ``cut``: the answer was larger than is read, and ``body`` is its beginning.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


class Transport:
    """Sends to one API with one token; the token goes to that API's origin only, over any redirect or link.

    ``base_url`` is with or without ``/v1``. Use it as an async context manager.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        user_agent: str,
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
    ) -> None:
        self.base_url = normalize(base_url)
        self._origin = Url(self.base_url).origin_ascii
        self._token = token
        self._client = self._build(user_agent)
        self._clock = clock
        self._ahead: float | None = None
        self._date: str | None = ""
        self._judged: dict[str, tuple[Url, bool]] = {}
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
        return build(builder.no_proxy() if is_loopback(urlsplit(self.base_url).hostname) else builder)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.close()

    @property
    def api_time(self) -> float | None:
        """The API's clock as of now (Unix seconds, to a second); None before an answer told it.

        It is carried by the seconds since this machine started, so that setting this machine's clock changes nothing.
        """
        return None if self._ahead is None else self._clock.now() + self._ahead

    async def send(  # noqa: PLR0913 - one argument a part of a request
        self,
        method: str,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the deadline is enforced below asyncio, in the Rust client
        body: bytes | None = None,
        form: FormBuilder | None = None,
        headers: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Response:
        """Send once. ``path`` is relative to the base URL (``/predictions``), or a whole URL that the API gave.

        ``guard`` is called right before the first byte; what it raises is raised, and nothing is sent.
        Raises NotSentError when no connection was made, NoAnswerError for everything after that: then the
        request may have been acted upon.
        """
        with Exchange(f"{method} {self.base_url}{path.partition('?')[0]}"):
            request = self._request(method, path, headers or {}).timeout(timedelta(seconds=timeout))
            if body is not None:
                request = request.header("content-type", "application/json").body_bytes(body)
            if form is not None:
                request = request.multipart(form)
            exchange = request.build_streamed()
            if guard:
                guard()
            async with exchange as response:
                payload, cut = await self._read(response)
        with suppress(ValueError):  # what is no text is no date
            self._note_date(response.get_header("date"))
        headers = read_headers(response) if response.status >= FAULTY else {}
        return Response(response.status, headers, payload, cut)

    async def _read(self, response: RustResponse) -> tuple[bytes, bool]:
        """The body, and whether it is only the beginning: of one that is too large, or of a long error.

        Large ones are read one after the other: the limit holds for all of them together.
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
        """Open a GET whose body is read as it comes: its status and its chunks, up to the same size in all.

        Raises as ``send`` does, and AnswerTooLargeError.
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
            told = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return  # what an earlier answer told stays
        if EPOCHS[0] <= told <= EPOCHS[1]:
            self._ahead = told - self._clock.now()


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
