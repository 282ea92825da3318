from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from urllib.parse import urlsplit

import pytest
from pyreqwest.client import ClientBuilder

from replicate_job.testing import LoopbackServer, Script, ScriptedAPI


def test_the_method_close_ends_the_thread_and_the_listening_socket(api: ScriptedAPI) -> None:
    def count() -> int:
        return [thread.name for thread in threading.enumerate()].count("loopback-server")

    assert count() == 1
    api.close()
    assert count() == 0
    host, port = urlsplit(api.base_url).netloc.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_the_method_close_does_not_wait_for_blocking_waits_or_hanging_clients_or_idle_connections() -> None:
    api = ScriptedAPI(script=Script(duration=3600)).start()
    api.faults.next("get", "hang")
    host, port = urlsplit(api.base_url).netloc.split(":")
    auth = f"Host: x\r\nAuthorization: Bearer {api.token}\r\n"
    held = f"POST /v1/models/acme/private/predictions HTTP/1.1\r\n{auth}Prefer: wait\r\nContent-Length: 12\r\n\r\n"
    with (
        closing(socket.create_connection((host, int(port)))) as holding,
        closing(socket.create_connection((host, int(port)))) as hanging,
        closing(socket.create_connection((host, int(port)))),
    ):
        holding.sendall(f'{held}{{"input":{{}}}}'.encode())
        hanging.sendall(f"GET /v1/predictions/1 HTTP/1.1\r\n{auth}\r\n".encode())
        api.wait_until(lambda: api.predictions and api.count("get"))
        api.close()
        for connection in (holding, hanging):
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""  # the connection is cut off; otherwise there would be a response


def test_the_method_close_may_be_called_twice_and_without_a_start() -> None:
    ScriptedAPI().close()
    api = ScriptedAPI().start()
    api.close()
    api.close()


def test_no_signal_handler_is_installed() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ScriptedAPI():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_many_concurrent_requests_from_the_event_loop_of_a_test_are_answered(api: ScriptedAPI) -> None:
    async with ClientBuilder().build() as client:

        async def create(number: int) -> int:
            request = client.post(f"{api.base_url}/v1/models/acme/private/predictions").bearer_auth(api.token)
            return (await request.body_json({"input": {"n": number}}).build().send()).status

        assert set(await asyncio.gather(*map(create, range(200)))) == {201}
    assert sorted(prediction.input["n"] for prediction in api.predictions) == list(range(200))


def test_another_process_can_use_the_scripted_api_through_environment_variables(api: ScriptedAPI) -> None:
    script = (
        "import os, urllib.request as u\n"
        "r = u.Request(os.environ['REPLICATE_BASE_URL'] + '/v1/account')\n"
        "r.add_header('Authorization', 'Bearer ' + os.environ['REPLICATE_API_TOKEN'])\n"
        "print(u.urlopen(r).status)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=api.environment, capture_output=True, check=True)
    assert done.stdout.strip() == b"200"


def test_each_app_has_an_origin_of_its_own_on_loopback(raw: Callable[..., bytes]) -> None:
    from replicate_job.testing import Answer  # noqa: PLC0415

    server = LoopbackServer(Answer(200, b"one"), Answer(200, b"two")).start()
    first, second = server.origins
    assert first != second
    assert {urlsplit(origin).hostname for origin in server.origins} == {"127.0.0.1"}
    request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(first, request).endswith(b"one")
    assert raw(second, request).endswith(b"two")
    server.close()
