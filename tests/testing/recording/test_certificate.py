"""The certificate for loopback: programs of the run trust it for loopback only."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from replicate_job.serving.answer import Answer
from replicate_job.testing.recording.certificate import Identity
from replicate_job.testing.recording.loopback import Loopback


def connect(origin: str, context: ssl.SSLContext, name: str) -> None:
    url = urlsplit(origin)
    with socket.create_connection((url.hostname, url.port)) as plain:
        context.wrap_socket(plain, server_hostname=name).close()


async def test_a_client_trusts_the_certificate_for_loopback_only(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    (trusted,) = {*identity.environment.values()}
    strict = ssl.create_default_context(cafile=trusted)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT

    def fetch(origin: str) -> bytes:
        with urlopen(origin, context=strict) as response:  # noqa: S310 - the test's own server
            found: bytes = response.read()
            return found

    with Loopback(0, identity) as loopback:
        async with loopback.serve(Answer(200, b"abc", "text/plain")):
            assert await asyncio.to_thread(fetch, loopback.secure) == b"abc"
            assert await asyncio.to_thread(fetch, loopback.own) == b"abc"
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                await asyncio.to_thread(connect, loopback.secure, strict, "example.com")
            with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"):
                await asyncio.to_thread(connect, loopback.secure, ssl.create_default_context(), "127.0.0.1")


def test_the_key_is_not_left_on_disk(tmp_path: Path) -> None:
    assert {*Identity(tmp_path).environment.values()} == {str(file) for file in tmp_path.iterdir()}
    assert [file for file in tmp_path.iterdir() if "PRIVATE" in file.read_text()] == []
