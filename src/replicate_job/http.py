"""Common code for users of the HTTP library: the API's transport, the downloads, the local server.

It relies on details of pyreqwest 0.15; ``tests/api/test_transport.py`` checks each of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError, RedirectError, RequestTimeoutError
from pyreqwest.response import Response

from replicate_job.base_errors import (
    CertificateError,
    ForkedError,
    JobError,
    NoAnswerError,
    NotSentError,
    TransportError,
)
from replicate_job.forks import Owner
from replicate_job.open_files import open_files

NEVER_CONNECTED = "client error (Connect)"
"""The cause in hyper's chain of errors if a request failed before its first byte was sent."""
UNTRUSTED = "invalid peer certificate"
"""The beginning of rustls's error if it does not trust the server's certificate."""
NO_FILES = ("os error 24)", "os error 23)")
"""The ends of an operating system's error if no further file can be opened: EMFILE and ENFILE, on Linux and macOS."""
CERTIFICATES = "SSL_CERT_FILE"
NO_CERTIFICATES = "No CA certificates"
"""A piece of the text of the HTTP library's error if the system has no certificates."""
NO_RUNTIME = "Failed to create tokio runtime"
"""The beginning of the HTTP library's error if the system gives it no threads or files."""
FORKED = "before fork()"
"""A piece of the text of the HTTP library's error in a forked process. The error is recognised by it."""
_NO_ROOT = bytes.fromhex(
    "3068305c020101300506035504033011310f300d06035504030c066e6f626f6479301e170d3730303130313030303030305a170d37303031303"
    "13030303030305a3011310f300d06035504030c066e6f626f6479300a3005060355040303010030050603550403030100"
)
"""A root certificate (X.509 v1, in DER) whose key is empty: no signature fits it, so it makes no server trusted."""
_user: Owner | None = None  # the process that made the first client: this one, or its parent before a fork
_CONNECT = timedelta(seconds=10)
_READ = timedelta(seconds=60)  # the longest time without a byte
_SHOWN = 200  # the most characters of a URL in a message
_USER = r"(?<=://)[^/\\#]*@"
_LOOPBACK = re.compile(r"(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|::1", re.ASCII | re.IGNORECASE)


def is_loopback(host: str | None) -> bool:
    """Whether the host is this machine. No proxy is used for it."""
    return _LOOPBACK.fullmatch(host or "") is not None


def shown(url: str) -> str:
    """The URL for a message: shortened, and without user, password and query, which may be secret."""
    plain = re.sub(_USER, "", url.partition("?")[0])
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 60]}…{plain[-60:]}"


class Exchange:
    """``with Exchange("GET /x"):`` around requests turns the library's errors into TransportError.

    A RedirectError is not changed. The library swallows a cancellation that comes just as a response arrives. Here that
    cancellation is raised.
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
    """Make a NotSentError if the request certainly never reached the server, else a NoAnswerError.

    The chain of causes decides, and not the error's class: ConnectError can also mean a reset after the request was
    sent, and ConnectTimeoutError a late response.
    """
    if reason(error).startswith(UNTRUSTED):
        advice = (
            f"behind a proxy or gateway that signs by itself, set {CERTIFICATES} to the file of its CA's certificate"
        )
        return CertificateError(f"{what}: no connection ({reason(error)}): {advice}")
    if isinstance(error, BuilderError) or NEVER_CONNECTED in causes(error):
        return NotSentError(f"{what}: no connection ({reason(error)}){_advise_files(reason(error))}")
    if isinstance(error, RequestTimeoutError):
        return NoAnswerError(f"{what}: no answer in time")
    return NoAnswerError(f"{what}: the connection broke ({reason(error)})")


def _advise_files(cause: str) -> str:
    """Advice for a connection that could not be made because too many files are open; empty for any other cause."""
    if not cause.endswith(NO_FILES):
        return ""
    return f": this process may open only {open_files()} files: allow more (ulimit -n), or give a lower --concurrency"


def read_headers(response: Response) -> dict[str, str]:
    """The headers by lower-case names. A header that cannot be decoded is left out."""
    headers: dict[str, str] = {}
    for name in response.headers:
        with suppress(ValueError):
            headers[name.lower()] = response.headers[name]
    return headers


def build(builder: ClientBuilder, *, https: bool) -> Client:
    """Make the client. Raises ForkedError in a fork of a process that made one: the library does not work there.

    With ``https``, raises CertificateError if the system has no certificates. Without it, the client is for plain HTTP:
    it needs no certificates, and without any it trusts no HTTPS server. Raises NotSentError if the client cannot be
    made.
    """
    global _user  # noqa: PLW0603 - the library has one runtime for each process
    check_fork()
    if not https and sys.platform == "linux":
        # On Linux the library makes no client without a root. macOS and Windows always have roots, and check this one.
        builder = builder.add_root_certificate_der(_NO_ROOT)
    try:
        client = builder.build()
    except BuilderError as error:
        raise _explain(reason(error)) from None
    except RuntimeError as error:
        if FORKED in str(error):  # other code has used the library before the fork
            raise ForkedError from None
        if str(error).startswith(NO_RUNTIME):
            raise _explain(str(error)) from None
        raise
    _user = _user or Owner()
    return client


def _explain(why: str) -> NotSentError:
    """The error if the library cannot make a client."""
    if NO_CERTIFICATES in why:
        advice = f"install ca-certificates, or set {CERTIFICATES} to a file of certificates in PEM format"
        return CertificateError(f"no CA certificates could be read on this machine: {advice}")
    return NotSentError(f"no HTTP client can be made ({why})")


def check_fork() -> None:
    """Raise ForkedError if a client was made before this process was forked: requests would never end."""
    if _user:
        _user.check()


def check_certificates(environment: Mapping[str, str] = os.environ) -> None:
    """Raise JobError if ``SSL_CERT_FILE`` is not a file of certificates: the library would trust no server."""
    named = environment.get(CERTIFICATES)
    if named is None:
        return
    try:
        holds = b"-----BEGIN CERTIFICATE-----" in Path(named).read_bytes()
    except OSError as error:
        raise JobError(f"{CERTIFICATES} is {named!r}, which cannot be read: {error.strerror}") from None
    if not holds:
        raise JobError(f"{CERTIFICATES} is {named!r}, which holds no certificate: it must be a file in PEM format")


def downloader() -> ClientBuilder:
    """A builder of clients for downloads: uncompressed, no Referer, 10 s to connect, 60 s between two reads."""
    builder = ClientBuilder().user_agent("replicate-job").referer(False).connect_timeout(_CONNECT).read_timeout(_READ)
    return builder.gzip(False).brotli(False).zstd(False).deflate(False)


def pinned(host: str, address: object) -> ClientBuilder:
    """A builder of clients for downloads that always connect to this address of the host, without a proxy."""
    return downloader().no_proxy().resolve(host, str(address), 0)  # 0 stands for the port in the URL


async def chunks(response: Response, host: str) -> AsyncIterator[bytes]:
    """The body in chunks, as it comes from the host. Raises NoAnswerError if it breaks off or stalls."""
    while True:
        with Exchange(f"the transfer from {host}"):
            chunk = await response.body_reader.read_chunk()
        if chunk is None:
            return
        yield chunk.to_bytes()


def causes(error: PyreqwestError) -> list[str]:
    """The chain of causes, from the library's message to the operating system's or the server's."""
    chain = (getattr(error, "details", None) or {}).get("causes") or []
    return [str(cause["message"]) for cause in chain] or [error.message]


def reason(error: PyreqwestError) -> str:
    """The last cause in the chain. Unlike the other causes it never has a URL, whose query could be secret."""
    return " ".join(causes(error)[-1].split())
