"""Requests through a gateway with a path and headers, through a proxy, and with a private CA."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from socket import SHUT_WR, create_connection
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pyreqwest.client import ClientBuilder
from tests.e2e.gateway import Gateway

from replicate_job import Client, run
from replicate_job.errors import CertificateError, JobError
from replicate_job.http import Exchange, build
from replicate_job.testing import Script, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"
LLAMA = "meta/llama-2-70b-chat"
PATH = "/v1/account/gateway/replicate"
CLOUDFLARE = f"http://gateway.ai.cloudflare.com{PATH}"
SECRET = "Bearer cf_secret"  # noqa: S105 - opens nothing
ONCE = {"cf-aig-max-attempts": "1", "cf-aig-skip-cache": "true"}


@pytest.fixture
def gateway(api: ScriptedAPI) -> Iterator[Gateway]:
    with Gateway(api, PATH) as gateway:
        yield gateway


def test_a_base_url_with_a_path_is_used_without_an_added_version_path(command: Command, gateway: Gateway) -> None:
    for base in (gateway.url, f"{gateway.url}/"):
        outcome = command("run", FLUX, "prompt=a fox", env={"REPLICATE_BASE_URL": base})
        assert (outcome.code, outcome.response["status"]) == (0, "succeeded"), outcome
    assert {path.split(" ")[1].startswith(f"{PATH}/") for path in gateway.paths} == {True}
    assert f"POST {PATH}/models/{FLUX}/predictions" in gateway.paths
    assert {row["api"] for row in command.rows()} == {gateway.url}


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_a_base_url_without_a_path_names_the_same_api_as_one_with_v1(
    api: ScriptedAPI, command: Command, path: str
) -> None:
    assert command("run", HELLO, "text=you", env={"REPLICATE_BASE_URL": api.base_url + path}).code == 0
    assert [row["api"] for row in command.rows()] == [f"{api.base_url}/v1"]


def test_configured_headers_are_sent_with_every_request_to_the_api_and_to_no_other_host(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(output=["a", "b"], stream=Stream()))
    env = {"REPLICATE_JOB_HEADERS": f"CF-AIG-Authorization: {SECRET}\n\n x-team : vision:7 \n"}
    assert command("run", LLAMA, "prompt=x", "--output-only", env=env).code == 0
    assert command("run", FLUX, "prompt=a fox", env=env).code == 0
    seen = [(request.origin, request.headers) for request in api.requests]
    assert {origin for origin, _ in seen} == {"api", "files"}
    for origin, headers in seen:
        own = {name: headers.get(name) for name in ("cf-aig-authorization", "x-team")}
        expected = (SECRET, "vision:7") if origin == "api" else (None, None)
        assert tuple(own.values()) == expected, (origin, headers)


def test_the_values_of_configured_headers_are_not_stored(command: Command, tmp_path: Path) -> None:
    env = {"REPLICATE_JOB_HEADERS": f"cf-aig-authorization: {SECRET}"}
    for words in (["run", HELLO, "text=you", "-v"], ["check", "-v"], ["list", "--json"]):
        outcome = command(*words, env=env)
        assert outcome.code == 0
        assert b"cf_secret" not in outcome.out + outcome.err.encode()
    assert not any(b"cf_secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_local_run_sends_no_configured_header(command: Command) -> None:
    outcome = command("check", "--local", env={"REPLICATE_JOB_HEADERS": "not a header"})
    assert outcome.code == 0, outcome


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cf_secret", "line 1 is not like `Name: value`"),
        ("x-a: 1\ncf_secret", "line 2 is not like `Name: value`"),
        ("x-a: 1\nX-A: cf_secret", "line 2 has a name that an earlier line has"),
        ("cf secret: 1", "the name of a header is letters, digits and hyphens, and one is not"),
        ("x-a: cf_secretä", "the value of x-a is empty, or holds characters that no header can have"),
        ("x-a:", "the value of x-a is empty, or holds characters that no header can have"),
        ("Authorization: cf_secret", "Authorization is a header that replicate-job writes itself: put the token in"),
        ("Prefer: wait", "Prefer is a header that replicate-job writes itself: leave it out"),
    ],
)
def test_invalid_headers_cause_a_one_line_error_without_their_values(
    api: ScriptedAPI, command: Command, text: str, said: str
) -> None:
    outcome = command("run", HELLO, "text=you", env={"REPLICATE_JOB_HEADERS": text})
    assert (outcome.code, outcome.out) == (2, b"")
    assert outcome.error.startswith(f"error: REPLICATE_JOB_HEADERS: {said}")
    assert "secret" not in outcome.error
    assert api.requests == []


def test_headers_from_python_replace_those_of_the_environment(
    api: ScriptedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_JOB_HEADERS", "x-team: vision")
    run(HELLO, {"text": "you"}, headers={"X-Key": " k "})
    run(HELLO, {"text": "me"})
    run(HELLO, {"text": "them"}, headers={})
    created = [request.headers for request in api.requests if request.operation == "create"]
    assert [(found.get("x-key"), found.get("x-team")) for found in created] == [
        ("k", None),
        (None, "vision"),
        (None, None),
    ]


def test_the_headers_of_a_client_are_sent_with_all_of_its_requests(api: ScriptedAPI) -> None:
    with Client(headers={"x-key": "k"}) as client:
        client.run(HELLO, {"text": "you"})
        client.run(FLUX, {"prompt": "a fox"})
    assert {request.headers.get("x-key") for request in api.requests} == {"k"}


@pytest.mark.parametrize("wrong", [{"x-key": None}, {"x-key": "cf_secret\r\nx: y"}, {1: "cf_secret"}, {"": "a"}])
@pytest.mark.usefixtures("api")
def test_invalid_headers_from_python_raise_an_error_without_their_values(wrong: Any) -> None:
    with pytest.raises(JobError, match=r"^headers: ") as caught:
        run(HELLO, {"text": "you"}, headers=wrong)
    assert "secret" not in str(caught.value)


def test_request_headers_turn_off_the_retries_and_caches_of_a_cloudflare_gateway(
    api: ScriptedAPI, command: Command, gateway: Gateway
) -> None:
    """A create request that a gateway retries is paid for again. A cached list hides new predictions."""
    env = {"HTTP_PROXY": gateway.origin, "REPLICATE_BASE_URL": CLOUDFLARE}
    env["REPLICATE_JOB_HEADERS"] = f"cf-aig-authorization: {SECRET}\ncf-aig-max-attempts: 5\ncf-aig-cache-ttl: 60"
    api.faults.next("create", "drop-after")
    outcome = command("run", HELLO, "text=you", env=env)
    assert (outcome.code, outcome.response["output"], len(api.predictions)) == (0, "hello you", 1), outcome
    assert {"create", "list"} <= {request.operation for request in api.requests}
    for request in api.requests:
        assert {name: request.headers.get(name) for name in ONCE} == ONCE, request
        assert request.headers["cf-aig-authorization"] == SECRET
        assert request.headers["authorization"] == f"Bearer {api.token}"


def test_no_other_gateway_gets_the_headers_for_cloudflare(api: ScriptedAPI, command: Command, gateway: Gateway) -> None:
    assert command("run", HELLO, "text=you", env={"REPLICATE_BASE_URL": gateway.url}).code == 0
    assert not any(ONCE.keys() & dict(request.headers).keys() for request in api.requests)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA, and a certificate for localhost that it signed."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)

    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    openssl(f"req -x509 {new} -keyout ca.key -out ca.pem -days 2 -subj /CN=Test-CA")
    openssl(f"req {new} -keyout own.key -out own.csr -subj /CN=localhost")
    openssl("x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 2 -extfile names")
    return folder


@pytest.fixture
def secure(api: ScriptedAPI, certificates: Path) -> Iterator[Gateway]:
    with Gateway(api, "/v1", (certificates / "own.pem", certificates / "own.key")) as gateway:
        yield gateway


def test_a_private_ca_is_trusted_if_an_environment_variable_names_its_file(
    command: Command, secure: Gateway, certificates: Path
) -> None:
    env = {"REPLICATE_BASE_URL": secure.url, "SSL_CERT_FILE": str(certificates / "ca.pem")}
    outcome = command("run", HELLO, "text=you", env=env)
    assert (outcome.code, outcome.response["output"]) == (0, "hello you"), outcome


@pytest.mark.parametrize("words", [("run", HELLO, "text=you"), ("check",), ("show", "x" * 26)])
def test_the_error_of_an_unknown_issuer_names_the_variable_to_set(
    command: Command, secure: Gateway, words: tuple[str, ...]
) -> None:
    command.environment.pop("SSL_CERT_FILE", None)
    outcome = command(*words, "-v", env={"REPLICATE_BASE_URL": secure.url})
    assert outcome.code == 3
    (error,) = (line for line in outcome.err.splitlines() if line)
    assert "UnknownIssuer" in error
    assert "set SSL_CERT_FILE to the file of its CA's certificate" in error


@pytest.fixture
def bare(command: Command) -> Command:
    """The command on a system without certificates, such as a slim container."""
    command.environment |= {"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nowhere"}
    return command


@pytest.mark.parametrize("words", [("run", HELLO, "text=you"), ("check",), ("show", "x" * 26)])
def test_without_certificates_an_https_api_causes_a_one_line_error(
    command: Command, secure: Gateway, words: tuple[str, ...]
) -> None:
    command.environment.pop("SSL_CERT_FILE", None)
    outcome = command(*words, env={"REPLICATE_BASE_URL": secure.url, "SSL_CERT_DIR": "/nowhere"})
    assert (outcome.code, outcome.out, secure.paths) == (3, b"", [])
    assert outcome.error == (
        "error: no CA certificates could be read on this machine: "
        "install ca-certificates, or set SSL_CERT_FILE to a file of certificates in PEM format"
    )


def test_without_certificates_a_command_runs_against_an_http_api(api: ScriptedAPI, bare: Command) -> None:
    outcome = bare("run", "black-forest-labs/flux-schnell", "prompt=x")
    assert (outcome.code, outcome.err) == (0, "")
    assert (bare.folder / outcome.response["files"][0]).stat().st_size > 0
    assert api.count("create") == 1


def test_without_certificates_an_output_on_an_https_host_causes_a_one_line_error(
    api: ScriptedAPI, bare: Command, secure: Gateway
) -> None:
    api.next(Script(output=[f"{secure.url}/picture.png"]))
    outcome = bare("run", "black-forest-labs/flux-schnell", "prompt=x")
    assert (outcome.code, outcome.response["status"], secure.paths) == (3, "succeeded", [])
    assert "picture.png cannot be fetched: no CA certificates could be read on this machine" in outcome.error
    assert api.count("create") == 1


def test_a_client_for_plain_http_trusts_no_https_server(secure: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")

    async def fetch() -> None:
        async with build(ClientBuilder().no_proxy(), https=False) as client:
            with Exchange("GET"):
                await client.get(secure.url).build().send()

    with pytest.raises(CertificateError, match="UnknownIssuer"):
        asyncio.run(fetch())
    assert secure.paths == []


FULL = """
import os, resource
from pyreqwest.client import ClientBuilder
from replicate_job.errors import NotSentError
from replicate_job.http import build
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
opened = []
try:
    while True:
        opened.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    build(ClientBuilder(), https=False)
except NotSentError as error:
    said = str(error)
for file in opened:
    os.close(file)
print(said)
"""


def test_a_process_that_may_open_no_more_files_gets_a_one_line_error() -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("no HTTP client can be made ("), done
    assert done.stdout.count("\n") == 1
    assert "Too many open files" in done.stdout


@pytest.mark.parametrize(("name", "said"), [("gone.pem", "which cannot be read: No such file"), ("", "cannot be read"),
                                            ("names", "which holds no certificate")])  # fmt: skip
def test_an_invalid_certificate_file_causes_an_error(
    command: Command, secure: Gateway, certificates: Path, name: str, said: str
) -> None:
    named = str(certificates / name) if name else ""
    outcome = command("run", HELLO, "text=you", env={"REPLICATE_BASE_URL": secure.url, "SSL_CERT_FILE": named})
    assert (outcome.code, secure.paths) == (2, [])
    assert f"SSL_CERT_FILE is {named!r}" in outcome.error
    assert said in outcome.error


def test_environment_variables_are_read_without_the_quotes_around_their_values(
    api: ScriptedAPI, command: Command
) -> None:
    """``docker run --env-file`` keeps the quotes of a file."""
    quoted = {name: f'"{value}"' for name, value in api.environment.items()}
    quoted |= {"REPLICATE_JOB_JOURNAL": f"'{command.journal}'", "REPLICATE_JOB_HEADERS": '"x-team: vision"'}
    outcome = command("run", HELLO, "text=you", env=quoted)
    assert outcome.code == 0, outcome
    assert len(command.rows()) == 1
    assert {request.headers.get("x-team") for request in api.requests} == {"vision"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_model_that_was_renamed_is_found_and_run_by_its_new_name(
    api: ScriptedAPI, command: Command, gateway: Gateway, status: int
) -> None:
    gateway.moved = {f"{PATH}/models/acme/old": (status, f"{PATH}/models/{FLUX}")}
    api.faults.next("create", "drop-after")
    env = {"REPLICATE_BASE_URL": gateway.url}
    outcome = command("run", "acme/old", "prompt=a fox", env=env)
    assert (outcome.code, outcome.response["model"], len(api.predictions)) == (0, FLUX, 1), outcome
    assert f"POST {PATH}/models/{FLUX}/predictions" in gateway.paths
    assert not any("acme/old" in path for path in gateway.paths if path.startswith("POST"))


def test_a_deployment_that_was_renamed_is_run_by_its_new_name(
    api: ScriptedAPI, command: Command, gateway: Gateway
) -> None:
    gateway.moved = {f"{PATH}/deployments/acme/old": (301, "flux")}  # relative to where it stood
    api.faults.next("create", "drop-after")
    outcome = command("run", "deployments/acme/old", "prompt=a fox", env={"REPLICATE_BASE_URL": gateway.url})
    assert (outcome.code, len(api.predictions)) == (0, 1), outcome
    assert f"POST {PATH}/deployments/acme/flux/predictions" in gateway.paths


def test_a_redirect_to_another_host_or_in_a_circle_causes_an_error_and_gets_no_token(
    api: ScriptedAPI, command: Command, gateway: Gateway
) -> None:
    path = f"{PATH}/models/acme/old"
    for location in (f"{api.base_url}/v1/models/{FLUX}", path, "http://[", "ftp://127.0.0.1/x"):
        gateway.moved = {path: (301, location)}
        outcome = command("run", "acme/old", "prompt=a fox", env={"REPLICATE_BASE_URL": gateway.url})
        assert outcome.code == 3
        assert "answered 301" in outcome.error
    assert api.requests == []


@pytest.fixture
def socks(api: ScriptedAPI) -> Iterator[tuple[str, list[str]]]:
    """A SOCKS5 proxy that connects every host name to the API, and the requested host names."""
    names: list[str] = []
    there = urlsplit(api.base_url)

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            _, methods = self.rfile.read(2)
            self.rfile.read(methods)
            self.wfile.write(b"\5\0")  # no authentication
            self.rfile.read(4)  # connect, to a name
            names.append(self.rfile.read(self.rfile.read(1)[0]).decode())
            self.rfile.read(2)
            with create_connection((there.hostname, there.port)) as upstream:
                self.wfile.write(b"\5\0\0\1" + bytes(6))
                back = Thread(target=self._pour, args=(upstream.makefile("rb"), self.wfile))
                back.start()
                self._pour(self.rfile, upstream.makefile("wb"))
                upstream.shutdown(SHUT_WR)
                back.join()

        @staticmethod
        def _pour(source: Any, sink: Any) -> None:
            while data := source.read1(65536):
                sink.write(data)
                sink.flush()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"socks5h://127.0.0.1:{server.server_address[1]}", names
        server.shutdown()


def test_with_a_socks_proxy_the_proxy_looks_up_the_host_name_of_the_api(
    command: Command, socks: tuple[str, list[str]]
) -> None:
    url, names = socks
    env = {"ALL_PROXY": url, "REPLICATE_BASE_URL": "http://api.replicate.invalid"}
    outcome = command("run", HELLO, "text=you", env=env)
    assert (outcome.code, outcome.response["output"]) == (0, "hello you"), outcome
    assert set(names) == {"api.replicate.invalid"}
