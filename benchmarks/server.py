"""An API whose predictions are over at once, in a process of its own, for clients that are measured in another.

Measured is the client, so this server does next to nothing: httptools parses, uvloop sends, and an answer is a template
with the request's input. It knows the models ``COMMUNITY`` and ``OFFICIAL``, whose output is ``hello``; it checks
nothing and stores nothing, and its list is empty.

It prints one line of JSON, ``{"base_url", "token"}``, and serves until its stdin ends. For a line ``stats`` on stdin
it prints another line: ``requests`` by operation, ``predictions`` created, and ``cpu``, its CPU time in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import formatdate
from types import TracebackType
from typing import Self, cast

import httptools
import msgspec
import uvloop

from replicate_job.serving.resource import page_body, prediction_body
from replicate_job.testing.models import ACCOUNT, DEFAULT_MODELS, ScriptedModel, openapi_schema

COMMUNITY = next(model for model in DEFAULT_MODELS if model.name == "replicate/hello-world")
OFFICIAL = ScriptedModel(
    name="acme/echo", official=True, schema=openapi_schema({"text": {"type": "string"}}, required=["text"])
)
TOKEN = "r8_testing_0123456789abcdefghijklmnopqr"  # noqa: S105 - not a secret
TICK = 0.1
"""Seconds for which answers have the same time."""


class ServerAddress(msgspec.Struct, frozen=True):
    base_url: str
    token: str


class Stats(msgspec.Struct, frozen=True):
    requests: dict[str, int]
    predictions: int
    cpu: float


class Server:
    """A process that runs this script until the ``with`` block ends."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, __file__, *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._address = msgspec.json.decode(self._read(), type=ServerAddress)

    @property
    def base_url(self) -> str:
        return self._address.base_url

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a client uses this API, as in ``ScriptedAPI.environment``."""
        return {"REPLICATE_API_TOKEN": self._address.token, "REPLICATE_BASE_URL": self.base_url}

    def stats(self) -> Stats:
        assert self._process.stdin  # noqa: S101 - a pipe, by construction
        self._process.stdin.write("stats\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._read(), type=Stats)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout  # noqa: S101 - a pipe, by construction
        return self._process.stdout.readline()


class _Create(msgspec.Struct):
    input: msgspec.Raw
    version: str = ""


class InstantAPI:
    """The answers, shared by all connections. ``duration`` is seconds until a create request is answered."""

    def __init__(self, duration: float) -> None:
        self.duration, self.origin = duration, ""
        self.requests, self.predictions = Counter[str](), 0
        self._read_create = msgspec.json.Decoder(_Create).decode

    def begin(self, origin: str) -> None:
        """``origin`` is where it can be reached."""
        self.origin = origin
        pages = {f"/v1/models/{model.name}": model.describe() for model in (COMMUNITY, OFFICIAL)}
        pages |= {"/v1/account": ACCOUNT, "/v1/predictions": page_body([])}
        self._pages = {path: msgspec.json.encode(page) for path, page in pages.items()}
        self._tick()

    def _tick(self) -> None:
        """Write the template anew, with the time as it is now. Its fields are the id, three times, and the input."""
        now, address = time.time(), f"{self.origin}/v1/predictions/%(id)s"
        body = prediction_body(
            id="%(id)s",
            model=COMMUNITY.name,
            version=COMMUNITY.version_ids[0],
            input=msgspec.Raw(b"%(input)b"),
            status="succeeded",
            created_at=now,
            started_at=now,
            completed_at=now,
            urls={"get": address, "cancel": f"{address}/cancel"},
            output="hello",
            metrics={"predict_time": 0.001, "total_time": 0.001},
        )
        self._prediction = msgspec.json.encode(body)
        self._date = formatdate(now, usegmt=True).encode()
        asyncio.get_running_loop().call_later(TICK, self._tick)

    def create(self, body: bytes) -> bytes:
        self.predictions += 1
        self.requests["create"] += 1
        fields = {b"id": b"%026x" % self.predictions, b"input": bytes(self._read_create(body).input)}
        return self._answer(b"201 Created", self._prediction % fields)

    def get(self, path: str) -> bytes:
        self.requests[path] += 1
        if page := self._pages.get(path):
            return self._answer(b"200 OK", page)
        return self._answer(b"404 Not Found", b'{"title":"Not found","status":404}')

    def _answer(self, status: bytes, body: bytes) -> bytes:
        head = b"HTTP/1.1 %b\r\ndate: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        return head % (status, self._date, len(body)) + body


class Connection(asyncio.Protocol):
    """One request after the other; every client keeps its connections."""

    def __init__(self, api: InstantAPI) -> None:
        self._api = api
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            self._transport.write(self._api.get(self._url.decode().partition("?")[0]))
        elif self._api.duration:
            asyncio.get_running_loop().call_later(self._api.duration, self._create, self._body)
        else:
            self._create(self._body)

    def _create(self, body: bytes) -> None:
        self._transport.write(self._api.create(body))


async def serve(duration: float) -> None:
    loop, api, ended = asyncio.get_running_loop(), InstantAPI(duration), asyncio.Event()
    server = await loop.create_server(lambda: Connection(api), "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    api.begin(f"http://{host}:{port}")
    loop.add_reader(sys.stdin.fileno(), _obey, api, ended.set)
    _send(ServerAddress(api.origin, TOKEN))
    await ended.wait()


def _obey(api: InstantAPI, end: Callable[[], None]) -> None:
    if sys.stdin.readline() == "stats\n":
        _send(Stats(dict(api.requests), api.predictions, time.process_time()))
    else:
        end()


def _send(message: msgspec.Struct) -> None:
    print(msgspec.json.encode(message).decode(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=0.0, help="seconds until a create request is answered (0)")
    uvloop.run(serve(parser.parse_args().duration))


if __name__ == "__main__":
    main()
