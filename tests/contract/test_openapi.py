"""Random requests by Replicate's OpenAPI document. The responses must conform to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case, Response

DOCUMENT = Path(__file__).parents[3] / "shared" / "reference" / "replicate-openapi.json"

if not DOCUMENT.exists():
    pytest.skip("Replicate's OpenAPI document is not in this repository, and not beside it", allow_module_level=True)
load_all_checks()


def read() -> dict[str, Any]:
    """The document without ``nullable``: it is OpenAPI 3.1, which does not have that keyword of 3.0."""
    document: dict[str, Any] = plain(msgspec.json.decode(DOCUMENT.read_bytes()))
    return document


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: plain(item) for name, item in value.items() if name != "nullable"}
    if value.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found


schema = schemathesis.openapi.from_dict(read())


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a local server with a state folder."""
    command = [sys.executable, "-m", "replicate_job", "serve", "--port", "0", "-q"]
    state = tmp_path_factory.mktemp("state")
    with subprocess.Popen([*command, "--state", str(state)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip() + "/v1"
        process.terminate()


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_response_conforms_to_the_document_and_none_is_a_server_error(case: Case[Any], base_url: str) -> None:
    checks = [response_schema_conformance, content_type_conformance, is_no_server_error, is_explained]
    case.call_and_validate(base_url=base_url, checks=checks, headers={"Authorization": "Bearer r8_any"})


def is_no_server_error(_: Any, response: Response, __: Case[Any]) -> None:
    assert response.status_code < 500


def is_explained(_: Any, response: Response, __: Case[Any]) -> None:
    """An error response has a detail, in the API's form."""
    if response.status_code >= 400:
        body = response.json()
        assert body["detail"]
        assert body.get("status", response.status_code) == response.status_code


@pytest.mark.parametrize(("method", "path"), [("POST", "/models"), ("PATCH", "/models/replicate/hello-world")])
def test_requests_to_create_or_change_models_get_a_422_that_says_why(method: str, path: str, base_url: str) -> None:
    import requests  # noqa: PLC0415 - comes with schemathesis

    answer = requests.request(method, base_url + path, timeout=10)
    assert answer.status_code == 422
    assert answer.json()["title"] == "Not available here"
