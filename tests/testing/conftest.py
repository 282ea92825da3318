from __future__ import annotations

import http.client
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from replicate_job.testing import ScriptedAPI


class Reply(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@pytest.fixture
def ask() -> Callable[..., Reply]:
    """Sends one request on a new connection: ``ask(api, "GET", "/v1/…" or a whole URL, json, header="…")``."""

    def ask(api: ScriptedAPI, method: str, target: str, content: Any = None, **headers: str) -> Reply:
        url = urlsplit(target if "://" in target else api.base_url + target)
        sent = {"Authorization": f"Bearer {api.token}"} if url.netloc in api.base_url else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = content if content is None or isinstance(content, bytes) else msgspec.json.encode(content)
        with closing(http.client.HTTPConnection(url.netloc, timeout=10)) as connection:
            connection.request(method, f"{url.path}?{url.query}" if url.query else url.path, body, sent)
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())

    return ask


@pytest.fixture
def create(ask: Callable[..., Reply]) -> Callable[..., Any]:
    """Creates a prediction of ``model`` and returns its JSON object."""

    def create(
        api: ScriptedAPI, given: Any = None, *, model: str = "acme/private", status: int = 201, **headers: str
    ) -> Any:
        reply = ask(api, "POST", f"/v1/models/{model}/predictions", {"input": given or {}}, **headers)
        assert reply.status == status, reply.body
        return reply.json

    return create
