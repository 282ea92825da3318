from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import pytest
from pyreqwest.client import ClientBuilder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from replicate_job.serving.answer import Answer
from replicate_job.serving.faults import Faults
from replicate_job.serving.middleware import FaultMiddleware, operation
from replicate_job.testing import LoopbackServer

GET = "GET /v1/predictions/1 HTTP/1.1\r\nHost: x\r\nPrefer: wait\r\nConnection: close\r\n\r\n"
BODY = '{"id":"1","status":"starting","prefer":null}'


class Counted:
    """A Starlette app behind the fault middleware, which counts the requests that it carries out."""

    def __init__(self, faults: str = "") -> None:
        self.done = 0
        self.faults = Faults.parse(faults)
        app = Starlette(routes=[Route("/v1/predictions/{id}", self.show, methods=["GET"])])
        self.app = FaultMiddleware(app, self.faults)
        self.server = LoopbackServer(self.app)
        self.origin = self.server.origins[0]

    async def show(self, request: Request) -> Response:
        self.done += 1
        body = {"id": request.path_params["id"], "status": "starting", "prefer": request.headers.get("prefer")}
        return JSONResponse(body)


@pytest.fixture
def app() -> Iterator[Counted]:
    counted = Counted()
    counted.server.start()
    yield counted
    counted.server.close()


@pytest.mark.parametrize(("fault", "done"), [("drop-before", 0), ("drop-after", 1)])
def test_the_fault_drop_resets_the_connection_before_or_after_the_request_runs(
    app: Counted, raw: Callable[..., bytes], fault: str, done: int
) -> None:
    app.faults.next("get", fault)
    with pytest.raises(ConnectionResetError):
        raw(app.origin, GET)
    assert app.done == done


@pytest.mark.parametrize(("fault", "done"), [("close-before", 0), ("close-after", 1)])
def test_the_fault_close_ends_the_connection_cleanly_without_a_response(
    app: Counted, raw: Callable[..., bytes], fault: str, done: int
) -> None:
    app.faults.next("get", fault)
    assert raw(app.origin, GET) == b""
    assert app.done == done


@pytest.mark.parametrize(
    ("fault", "status", "body", "done"),
    [
        ("500-before", b"500 Internal Server Error", b'"status":500}', 0),
        ("500-after", b"500 Internal Server Error", b'"status":500}', 1),
        ("402", b"402 Payment Required", b'"title":"Insufficient credit"', 0),
        ("404-before", b"404 Not Found", b"could not be found", 0),
        ("html-after", b"502 Bad Gateway", b"</html>", 1),
        ("empty", b"503 Service Unavailable", b"\r\n\r\n", 0),
        ("nonsense-after", b"200 OK", b'{"message":"hello"}', 1),
        ("499", b"499 ", b'"status":499}', 0),
    ],
)
def test_a_fault_with_a_response_replaces_the_response_of_the_app(  # noqa: PLR0913, PLR0917 - the columns of the table
    app: Counted, raw: Callable[..., bytes], fault: str, status: bytes, body: bytes, done: int
) -> None:
    app.faults.next("get", fault)
    reply = raw(app.origin, GET)
    assert reply.startswith(b"HTTP/1.1 " + status)
    assert body in reply
    assert app.done == done


def test_the_fault_truncate_sends_fewer_bytes_than_its_content_length(app: Counted, raw: Callable[..., bytes]) -> None:
    app.faults.next("get", "truncate")
    head, _, body = raw(app.origin, GET).partition(b"\r\n\r\n")
    assert f"content-length: {len(BODY)}".encode() in head
    assert body == BODY[: len(BODY) // 2].encode()


def test_the_fault_half_sends_half_of_the_body_with_a_matching_content_length(
    app: Counted, raw: Callable[..., bytes]
) -> None:
    app.faults.next("get", "half")
    head, _, body = raw(app.origin, GET).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body)


@pytest.mark.parametrize(
    ("fault", "header", "field"),
    [
        ("429(body=5)", None, 5),
        ("429(header=7)", b"7", None),
        ("429()", None, None),
        ("429(body=999999999)", None, 999999999),
        ("429(body=-3)", None, -3),
        ("429(header=soon)", b"soon", None),
    ],
)
def test_a_429_gives_the_retry_time_in_body_header_or_detail(
    app: Counted, raw: Callable[..., bytes], fault: str, header: bytes | None, field: int | None
) -> None:
    app.faults.next("get", fault)
    head, _, body = raw(app.origin, GET).partition(b"\r\n\r\n")
    headers = dict(line.split(b": ", 1) for line in head.splitlines()[1:])
    assert headers.get(b"retry-after") == header
    assert msgspec.json.decode(body).get("retry_after") == field


def test_a_429_gives_the_retry_time_as_a_date_or_in_its_detail(app: Counted, raw: Callable[..., bytes]) -> None:
    app.faults.next("get", "429(date=60)", "429(detail=5)")
    before = time.time()
    head = raw(app.origin, GET).partition(b"\r\n\r\n")[0]
    line = next(line for line in head.decode().splitlines() if line.startswith("retry-after: "))
    assert int(before) <= parsedate_to_datetime(line.partition(": ")[2]).timestamp() - 60 <= time.time()
    assert b"Your rate limit resets in ~5s." in raw(app.origin, GET)


def test_a_redirect_fault_answers_307_with_the_given_location(app: Counted, raw: Callable[..., bytes]) -> None:
    app.faults.next("get", "redirect(http://127.0.0.2:1/v1?a=b)")
    assert b"location: http://127.0.0.2:1/v1?a=b\r\n" in raw(app.origin, GET)


@pytest.mark.parametrize("fault", ["slow(80ms)", "slow-after(80ms)"])
def test_the_fault_slow_delays_the_real_response(app: Counted, raw: Callable[..., bytes], fault: str) -> None:
    app.faults.next("get", fault)
    began = time.monotonic()
    assert b'"status":"starting"' in raw(app.origin, GET)
    assert time.monotonic() - began >= 0.08


async def test_the_fault_hang_lasts_until_the_client_disconnects(app: Counted) -> None:
    app.faults.next("get", "hang-after", None)
    async with ClientBuilder().build() as client:

        async def ask() -> tuple[int, str]:
            answer = await client.get(f"{app.origin}/v1/predictions/1").build().send()
            return answer.status, await answer.text()

        asking = asyncio.create_task(ask())
        while app.done == 0 and not asking.done():  # noqa: ASYNC110 - the app is in a thread of its own
            await asyncio.sleep(0.005)
        answered, _ = await asyncio.wait([asking], timeout=0.15)
        assert not answered
        assert app.done == 1
        asking.cancel()
        assert await ask() == (200, BODY)


def test_a_request_whose_fault_occurs_after_it_has_run_has_no_blocking_wait(
    app: Counted, raw: Callable[..., bytes]
) -> None:
    app.faults.next("get", "slow-after", "slow-before")
    assert b'"prefer":null' in raw(app.origin, GET)
    assert b'"prefer":"wait"' in raw(app.origin, GET)


def test_a_connection_can_be_reused_after_a_refusal(app: Counted, raw: Callable[..., bytes]) -> None:
    app.faults.next("get", "half", "503")
    pair = GET.replace("Connection: close\r\n", "")
    reply = raw(app.origin, pair + pair + GET)
    assert re.findall(rb"HTTP/1.1 (\d+)", reply) == [b"200", b"503", b"200"]


def test_a_configured_latency_delays_every_response(app: Counted, raw: Callable[..., bytes]) -> None:
    app.faults.latency = 0.05
    began = time.monotonic()
    raw(app.origin, GET)
    assert time.monotonic() - began >= 0.05


def asking(fault: str) -> str:
    return GET.replace("Prefer", f"X-Replicate-Job-Fault: {fault}\r\nPrefer")


@pytest.mark.parametrize(
    ("fault", "reply", "done"),
    [
        ("503", b"HTTP/1.1 503 ", 0),
        ("429(body=5)", b'"retry_after":5', 0),
        ("slow(2ms)", b'"status":"starting"', 1),
        ("truncate", b"content-length: 44", 1),
        ("close-after", b"", 1),
        (" html ", b"</html>", 0),
    ],
)
def test_a_request_header_can_name_the_fault(
    app: Counted, raw: Callable[..., bytes], fault: str, reply: bytes, done: int
) -> None:
    assert reply in raw(app.origin, asking(fault))
    assert app.done == done


def test_a_request_that_names_drop_after_runs_before_the_reset(app: Counted, raw: Callable[..., bytes]) -> None:
    with pytest.raises(ConnectionResetError):
        raw(app.origin, asking("drop-after"))
    assert app.done == 1


def test_a_fault_that_the_request_names_comes_before_queued_faults_and_uses_up_none(
    raw: Callable[..., bytes],
) -> None:
    app = Counted("get:500=1,other-rate=1/min,burst=1")
    app.faults.next("get", "404")
    app.server.start()
    assert raw(app.origin, asking("503")).startswith(b"HTTP/1.1 503 ")
    assert raw(app.origin, GET).startswith(b"HTTP/1.1 404 ")
    assert raw(app.origin, GET).startswith(b"HTTP/1.1 500 ")
    assert raw(app.origin, GET).startswith(b"HTTP/1.1 429 ")
    app.server.close()


@pytest.mark.parametrize("fault", ["explode", "", "503=0.5", "create:503", "slow(soon)", "\xe4"])
def test_an_unknown_fault_in_the_header_is_answered_with_the_list_of_faults(
    app: Counted, raw: Callable[..., bytes], fault: str
) -> None:
    head, _, body = raw(app.origin, asking(fault)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    told = msgspec.json.decode(body)
    assert told["status"] == 400
    assert "X-Replicate-Job-Fault" in told["detail"]
    assert fault == "slow(soon)" or "drop, close" in told["detail"]
    assert app.done == 0


async def test_a_server_without_the_breakable_protocol_cannot_drop_connections() -> None:
    app = FaultMiddleware(Answer(200), Faults.parse("get:drop=1"))

    async def never(*_: object) -> Any:
        raise AssertionError("nothing is received or sent")

    with pytest.raises(RuntimeError, match="BreakableProtocol"):
        await app({"type": "http", "method": "GET", "path": "/v1/predictions/1", "headers": []}, never, never)


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/v1/predictions", "create"),
        ("POST", "/v1/models/acme/x/predictions", "create"),
        ("POST", "/v1/deployments/acme/x/predictions", "create"),
        ("GET", "/v1/predictions", "list"),
        ("GET", "/v1/predictions/abc", "get"),
        ("POST", "/v1/predictions/abc/cancel", "cancel"),
        ("GET", "/v1/models/acme/x", "model"),
        ("GET", "/v1/models/acme/x/versions/abc", "model"),
        ("GET", "/v1/deployments/acme/x", "model"),
        ("POST", "/v1/files", "file"),
        ("GET", "/v1/files/abc", "file"),
        ("GET", "/v1/models", "model"),
        ("QUERY", "/v1/models", "model"),
        ("GET", "/v1/models/acme/x/examples", "model"),
        ("GET", "/v1/deployments", "model"),
        ("PATCH", "/v1/deployments/acme/x", "model"),
        ("GET", "/v1/files", "file"),
        ("GET", "/v1/files/abc/download", "file"),
        ("GET", "/stream/abc", "stream"),
        ("GET", "/outputs/abc/out-0.png", "download"),
        ("GET", "/files/abc/cat.png", "download"),
        ("GET", "/v1/account", "other"),
        ("GET", "/v1/hardware", "other"),
        ("GET", "/v1/search", "other"),
        ("GET", "/v1/collections/super-resolution", "other"),
        ("GET", "/v1/webhooks/default/secret", "other"),
        ("GET", "/v1/trainings", "list"),
        ("POST", "/v1/models/a/b/versions/c/trainings", "create"),
        ("GET", "/v1/trainings/abc", "get"),
        ("POST", "/v1/trainings/abc/cancel", "cancel"),
        ("GET", "/v1/filesystem", "other"),
    ],
)
def test_a_request_is_classified_by_method_and_path(method: str, path: str, word: str) -> None:
    assert operation({"method": method, "path": path}) == word
