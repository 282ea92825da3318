"""``replicate-job serve`` as a process: how it begins, what it says, and how it ends, also when it is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import textwrap
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec
import pytest

from replicate_job.wire.webhook import verify_webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Command, Process

HELLO = "replicate/hello-world"
SLOW = """
    import os, time
    from cog import BasePredictor, Path

    class Predictor(BasePredictor):
        def predict(self, quick: bool = False) -> Path:
            print("begun", flush=True)
            if not quick:
                time.sleep(600)
            Path("a.txt").write_text("kept")
            return Path("a.txt")
"""
TOKEN = "a-token-of-the-test"  # noqa: S105 - no secret


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of models' environments for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(tmp_path: Path, cache: Path) -> dict[str, str]:
    """Without a token. A variable of the test's own marks its processes, and those that they start."""
    uv = os.environ.get("UV_CACHE_DIR", str(Path("~/.cache/uv").expanduser()))
    own = {"UV_CACHE_DIR": uv, "XDG_CACHE_HOME": str(cache), "REPLICATE_API_TOKEN": "", "OF_TEST": str(tmp_path)}
    passed = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
    return {**passed, **own}


class Server:
    """A server that has opened its port; ``url`` is its origin."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = read_line(process).strip()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        request = Request(self.url + path, data, headers, method=method)  # noqa: S310 - our own server
        with urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
            return msgspec.json.decode(answer.read())

    def create(self, count: int = 1, **given: Any) -> list[Any]:
        version = self.ask("GET", "/v1/models/me/slow")["latest_version"]["id"]
        body = {"version": version, "input": given}
        return [self.ask("POST", "/v1/predictions", body) for _ in range(count)]

    def until_begun(self, prediction: Any) -> None:
        """Read its stream up to the first line of its log."""
        with urlopen(prediction["urls"]["stream"], timeout=60) as stream:  # noqa: S310 - our own server
            assert any(line == b"event: logs\n" for line in stream)


def read_line(process: Process) -> str:
    line = b""
    while not line.endswith(b"\n"):
        part = process.read(1)
        assert part, process.end().err
        line += part
    return line.decode()


@pytest.fixture
def serve(command: Command, environment: dict[str, str]) -> Callable[..., Server]:
    """Starts it on a free port with the test's models, and its state in the test's folder."""

    def start(*words: str | Path, **more: str) -> Server:
        state = ("--state", command.folder / "served") if "--state" not in words else ()
        return Server(command.start("serve", "--port", "0", *state, *words, env={**environment, **more}))

    return start


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "me" / "slow"
    folder.mkdir(parents=True)
    (folder / "cog.yaml").write_text('build:\n  python_version: ""\npredict: "predict.py:Predictor"\n')
    (folder / "predict.py").write_text(textwrap.dedent(SLOW))
    return tmp_path / "models"


def marked(folder: Path) -> set[int]:
    """The processes that were started from this test's server, itself among them."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"OF_TEST={folder}".encode() in place.read_bytes().split(b"\0"):
                found.add(int(place.parent.name))
    return found


def wait_for_the_last(folder: Path) -> None:
    """Wait until no process is left: a process needs some time to end after its signal."""
    for pid in marked(folder):
        with suppress(ProcessLookupError):
            file = os.pidfd_open(pid)
            ended = select_ended(file)
            os.close(file)
            assert ended, Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not marked(folder)


def select_ended(file: int) -> bool:
    import select  # noqa: PLC0415 - only here

    return bool(select.select([file], [], [], 10)[0])


def test_serve_prints_only_its_address_and_a_command_without_a_token_runs_a_model_there(
    serve: Callable[..., Server], command: Command, environment: dict[str, str]
) -> None:
    server = serve()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
    told = [server.process.line() for _ in range(2)]
    assert told == [
        f"Replicate on this machine, until Ctrl-C. The page: {server.url}/\n",
        f"for clients: export REPLICATE_BASE_URL={server.url} REPLICATE_API_TOKEN=local\n",
    ]
    here = environment | {"REPLICATE_BASE_URL": server.url}
    outcome = command("run", HELLO, "text=hi", env=here)
    assert (outcome.code, outcome.response["output"]) == (0, "hello hi"), outcome
    server.process.interrupt()
    ended = server.process.end()
    assert (ended.code, ended.out, ended.err.splitlines()[-1]) == (0, b"", "stopping")


def test_with_quiet_serve_prints_only_its_address(serve: Callable[..., Server]) -> None:
    server = serve("-q")
    server.process.signal(signal.SIGTERM)
    ended = server.process.end()
    assert (ended.code, ended.err) == (0, "")


def test_a_port_in_use_causes_a_one_line_error(command: Command, environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = command("serve", "--port", str(port), env=environment)
    assert outcome.code == 3
    assert str(port) in outcome.error
    assert outcome.error.startswith("error: ")
    assert "in use" in outcome.error


def test_a_state_folder_in_use_causes_a_one_line_error(
    serve: Callable[..., Server], command: Command, environment: dict[str, str]
) -> None:
    serve()
    outcome = command("serve", "--port", "0", "--state", command.folder / "served", env=environment)
    assert outcome.code == 3
    assert outcome.error == (
        f"error: {command.folder / 'served'} is in use by another local server: stop it, or name another --state"
    )


def test_a_state_folder_that_is_a_file_or_cannot_be_written_causes_a_one_line_error(
    command: Command, environment: dict[str, str]
) -> None:
    (command.folder / "file").touch()
    outcome = command("serve", "--port", "0", "--state", command.folder / "file" / "below", env=environment)
    assert outcome.code == 3
    assert outcome.error.startswith(f"error: {command.folder / 'file' / 'below'} cannot be written (Not a directory)")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fault", "create:bogus=1"], "'bogus' is not a fault"),
        (["--fault", "nobody:503=1"], "nobody"),
        (["--fault", "get:503=2"], "2"),
        (["--host", "0.0.0.0"], "choose a --token, or set REPLICATE_JOB_SERVE_TOKEN"),  # noqa: S104 - the case
        (["--host", "::"], "choose a --token"),
        (["--host", "my.machine"], "choose a --token"),
        (["--idle", "soon"], "'soon' must be like 30s"),
        (["--memory", "much"], "'much' is not a size"),
        (["--max-models", "0"], "0"),
        (["--models", "nowhere"], "nowhere"),
        (["nowhere"], "nowhere"),
        (["--port", "99999"], "99999"),
    ],
)
def test_an_invalid_option_causes_a_one_line_error_and_no_server_starts(
    command: Command, environment: dict[str, str], words: list[str], said: str
) -> None:
    outcome = command("serve", "--port", "0", *words, env=environment)
    *usage, error = outcome.err.splitlines()
    assert (outcome.code, outcome.out) == (2, b"")
    assert said in error
    assert error.startswith("error: ")
    assert len(usage) <= 1
    assert not (command.folder / "state" / "replicate-job" / "local").exists()


def test_with_a_token_serve_listens_on_every_address_and_warns(serve: Callable[..., Server]) -> None:
    server = serve("--host", "0.0.0.0", REPLICATE_JOB_SERVE_TOKEN=f'"{TOKEN}"')  # noqa: S104 - the case
    told = "".join(server.process.line() for _ in range(3))
    assert "open to whoever reaches 0.0.0.0 and has the token" in told
    assert "REPLICATE_API_TOKEN=..." in told
    assert TOKEN not in told
    assert server.ask("GET", "/v1/account", authorization=f"Bearer {TOKEN}")["username"] == "local"
    with pytest.raises(OSError, match="401"):
        server.ask("GET", "/v1/account")


def test_the_option_fault_injects_the_named_faults(serve: Callable[..., Server]) -> None:
    server = serve("--fault", "list:503=1")
    with pytest.raises(OSError, match="503"):
        server.ask("GET", "/v1/predictions")
    assert server.ask("GET", "/v1/account")


def test_the_folder_of_a_cog_project_can_be_served_by_itself(serve: Callable[..., Server], models: Path) -> None:
    server = serve(models / "me" / "slow")
    listed = server.ask("GET", "/v1/models")["results"]
    assert "local/slow" in {f"{model['owner']}/{model['name']}" for model in listed}


def test_folders_without_a_readable_model_are_reported_and_the_others_are_served(
    serve: Callable[..., Server], models: Path
) -> None:
    (models / "me" / "torn").mkdir()
    (models / "me" / "torn" / "cog.yaml").write_text("predict: [")
    server = serve(models, models / "me")
    told = [server.process.line() for _ in range(4)][2:]
    assert told[0].startswith(f"warning: {models / 'me' / 'torn' / 'cog.yaml'} cannot be read: ")
    assert told[1] == (
        f"warning: no model in {models / 'me'}: name a folder with a cog.yaml, or one that holds owner/name/cog.yaml\n"
    )
    assert server.ask("GET", "/v1/models/me/slow")["name"] == "slow"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_models_and_fails_running_predictions_with_the_reason(
    serve: Callable[..., Server], models: Path, command: Command, number: int
) -> None:
    server = serve("--models", models)
    running, waiting = server.create(2)
    server.until_begun(running)
    server.process.signal(number)
    assert server.process.ends_within(9)  # whatever cannot be closed is given up after 10 s
    assert server.process.end().code == 0
    wait_for_the_last(command.folder)
    again = serve("--models", models)
    for prediction in (running, waiting):
        found = again.ask("GET", urlsplit(prediction["urls"]["get"]).path)
        assert (found["status"], found["error"]) == ("failed", "the server was stopped before this ended")


def test_after_a_server_is_killed_the_next_one_lists_its_predictions_and_no_process_is_left(
    serve: Callable[..., Server], models: Path, command: Command
) -> None:
    server = serve("--models", models)
    (done,) = server.create(quick=True)
    ended = server.ask("GET", urlsplit(done["urls"]["get"]).path)
    while ended["status"] in {"starting", "processing"}:
        ended = server.ask("GET", urlsplit(done["urls"]["get"]).path)
    made = server.create(20)
    server.until_begun(made[0])
    assert len(marked(command.folder)) > 1
    server.process.kill()
    wait_for_the_last(command.folder)

    again = serve("--models", models)
    listed = again.ask("GET", "/v1/predictions")["results"]
    assert [each["id"] for each in listed] == [each["id"] for each in (done, *made)][::-1]
    assert {(each["status"], each["error"]) for each in listed[:-1]} == {
        ("failed", "the server was stopped before this ended")
    }
    assert all(each["completed_at"] for each in listed)
    assert listed[-1]["status"] == "succeeded"
    with urlopen(listed[-1]["output"], timeout=10) as file:  # noqa: S310 - our own server
        assert file.read() == b"kept"
    (new,) = again.create(quick=True)
    assert new["id"] not in {each["id"] for each in listed}


def test_after_a_server_is_killed_the_next_one_sends_the_webhook_of_an_unfinished_prediction(
    serve: Callable[..., Server], models: Path, command: Command
) -> None:
    told: Queue[tuple[dict[str, str], bytes]] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put((dict(self.headers.items()), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        Thread(target=receiver.serve_forever, daemon=True).start()
        server = serve("--models", models)
        version = server.ask("GET", "/v1/models/me/slow")["latest_version"]["id"]
        webhook = {"webhook": f"http://127.0.0.1:{receiver.server_port}/a", "webhook_events_filter": ["completed"]}
        made = server.ask("POST", "/v1/predictions", {"version": version, "input": {}} | webhook)
        server.until_begun(made)
        server.process.kill()
        wait_for_the_last(command.folder)
        secret = serve("--models", models).ask("GET", "/v1/webhooks/default/secret")["key"]
        headers, body = told.get(timeout=20)
        receiver.shutdown()
    verify_webhook(headers, body, secret)
    found = msgspec.json.decode(body)
    assert (found["id"], found["status"]) == (made["id"], "failed")
    assert found["urls"]["get"].startswith("http://127.0.0.1:")


def test_a_full_disk_is_reported_to_the_client_as_an_error_and_stored_data_stays(
    command: Command, environment: dict[str, str]
) -> None:
    limited = ["/bin/sh", "-c", 'ulimit -f 300; exec "$@"', "sh", *command.program]
    words = ["serve", "--port", "0", "--state", str(command.folder / "served")]
    server = Server(command.execute([*limited, *words], env=environment))
    version = server.ask("GET", "/v1/models/replicate/hello-world")["latest_version"]["id"]
    facts = {"model": HELLO, "version": version, "hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made: list[str] = []

    def fill() -> None:
        for number in range(1000):
            server.ask("POST", "/v1/deployments", facts | {"name": f"d{number:03}"})
            made.append(f"d{number:03}")

    with pytest.raises(HTTPError) as caught:
        fill()
    said = msgspec.json.decode(caught.value.read())
    assert said["detail"].startswith("The server's state cannot be read or written: ")
    assert [each["name"] for each in server.ask("GET", "/v1/deployments")["results"]] == made[::-1]
    assert made


def test_verbose_writes_a_line_for_each_request_without_the_token(serve: Callable[..., Server]) -> None:
    server = serve("-v", "--token", TOKEN)
    for _ in range(2):
        server.process.line()
    server.ask("GET", "/v1/account?x=%0a%1b", authorization=f"Bearer {TOKEN}")
    with suppress(OSError):
        server.ask("GET", "/v1/none%7F")
    lines = [server.process.line() for _ in range(2)]
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET /v1/account 200 \d+ ms\n", lines[0]), lines
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET /v1/none%7F 401 \d+ ms\n", lines[1]), lines
