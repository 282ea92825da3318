"""What all users of the HTTP library must know of it: the API's transport, the downloads, the local server.

The facts are of pyreqwest 0.15, each seen in ``tests/api/test_transport.py``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError, RedirectError, RequestTimeoutError
from pyreqwest.response import Response

from replicate_job.errors import ForkedError, NoAnswerError, NotSentError, TransportError
from replicate_job.forks import Owner

NEVER_CONNECTED = "client error (Connect)"
"""The cause that hyper names when a request failed before its first byte was sent."""
FORKED = "before fork()"
"""What the library says of its runtime in a forked process."""
_user: Owner | None = None  # the process that made the first client: this one, or one that it was forked from
_CONNECT = timedelta(seconds=10)
_READ = timedelta(seconds=60)  # without a byte
_LOOPBACK = re.compile(r"(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|::1", re.ASCII | re.IGNORECASE)


def is_loopback(host: str | None) -> bool:
    """Whether the host is this machine: then no proxy stands before it."""
    return _LOOPBACK.fullmatch(host or "") is not None


class Exchange:
    """``with Exchange("GET /x"):`` around requests turns the library's errors into TransportError.

    A redirect that leads nowhere stays a RedirectError. A cancellation that strikes just as an answer arrives is
    swallowed by the library: it is raised here.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        check_fork()
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task else 0

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, PyreqwestError) and not isinstance(error, RedirectError):
            raise translate(error, self._what) from None
        if error is None and self._task and self._task.cancelling() > self._cancellations:
            raise asyncio.CancelledError


def translate(error: PyreqwestError, what: str) -> TransportError:
    """Say whether the request can have reached the server. Where that is in doubt, it can.

    The error's class does not tell: there is ConnectError for a connection that is reset after the request was sent,
    and ConnectTimeoutError for an answer that does not come. The chain of causes does.
    """
    if isinstance(error, BuilderError) or NEVER_CONNECTED in causes(error):
        return NotSentError(f"{what}: no connection ({reason(error)})")
    if isinstance(error, RequestTimeoutError):
        return NoAnswerError(f"{what}: no answer in time")
    return NoAnswerError(f"{what}: the connection broke ({reason(error)})")


def read_headers(response: Response) -> dict[str, str]:
    """The headers that are text, by lower-case names; the library raises for one that is not."""
    found: dict[str, str] = {}
    for name in response.headers:
        with suppress(ValueError):
            found[name.lower()] = response.headers[name]
    return found


def build(builder: ClientBuilder) -> Client:
    """Make the client. Raises ForkedError in a fork of a process that made one, whose runtime cannot be used here."""
    global _user  # noqa: PLW0603 - the library's runtime is the process's too
    check_fork()
    try:
        client = builder.build()
    except RuntimeError as error:
        if FORKED in str(error):  # the program used the library by itself
            raise ForkedError from None
        raise
    _user = _user or Owner()
    return client


def check_fork() -> None:
    """Raise ForkedError where a client was made before this process was forked: its requests would never end."""
    if _user:
        _user.check()


def downloader() -> ClientBuilder:
    """Of a client for files: it asks for plain bytes and sends no Referer; 10 s to connect, 60 s between two reads."""
    builder = ClientBuilder().user_agent("replicate-job").referer(False).connect_timeout(_CONNECT).read_timeout(_READ)
    return builder.gzip(False).brotli(False).zstd(False).deflate(False)


def pinned(host: str, address: object) -> ClientBuilder:
    """Of a client for files that connects to this address of the host, whatever its name leads to later. No proxy."""
    return downloader().no_proxy().resolve(host, str(address), 0)  # 0 is the port of the URL that is asked for


async def chunks(response: Response, host: str) -> AsyncIterator[bytes]:
    """The body as it comes from there. Raises NoAnswerError when it breaks off or stalls."""
    while True:
        with Exchange(f"the transfer from {host}"):
            chunk = await response.body_reader.read_chunk()
        if chunk is None:
            return
        yield chunk.to_bytes()


def causes(error: PyreqwestError) -> list[str]:
    """From the library's own words to what the operating system or the peer said."""
    found = (getattr(error, "details", None) or {}).get("causes") or []
    return [str(cause["message"]) for cause in found] or [error.message]


def reason(error: PyreqwestError) -> str:
    """The last cause. It names no URL, hence no secret in a query."""
    return " ".join(causes(error)[-1].split())
