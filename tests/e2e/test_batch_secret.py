"""A secret input of ``batch`` goes to the model, and is stored nowhere afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.inputs.secrets import REDACTED
from replicate_job.testing import Script, ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

    from replicate_job.testing import ScriptedAPI

SECRET = "hush-hush-4711"  # noqa: S105 - it is one for the test
WORDS = ["batch", "acme/locked", "rows.jsonl", "--results", "results.jsonl"]


@pytest.fixture(autouse=True)
def locked(api: ScriptedAPI) -> None:
    key = {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True, "maxLength": 40}
    schema = openapi_schema({"text": {"type": "string"}, "count": {"type": "integer"}, "api_key": key})
    api.models["acme/locked"] = ScriptedModel(name="acme/locked", official=True, schema=schema)


def write(command: Command, *rows: dict[str, object]) -> None:
    (command.folder / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def check_hidden(command: Command, outcome: Outcome) -> None:
    assert SECRET.encode() not in outcome.out + outcome.err.encode()
    files = [path for path in command.folder.rglob("*") if path.is_file() and path.name != "rows.jsonl"]
    assert {"results.jsonl", "report.html", "journal.db"} <= {path.name for path in files}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def records(command: Command) -> list[dict[str, dict[str, object]]]:
    return [msgspec.json.decode(line) for line in (command.folder / "results.jsonl").read_bytes().splitlines()]


def test_a_secret_constant_is_in_no_printed_or_stored_command(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(), Script(end="failed", error="no luck"))
    write(command, {"text": "a"}, {"text": "b"}, {"count": "many"})
    outcome = command(*WORDS, f"api_key={SECRET}", "--concurrency", "1")
    assert outcome.code == 1
    assert [prediction.input["api_key"] for prediction in api.predictions] == [SECRET] * 2
    again = " ".join(["replicate-job", *WORDS, "api_key=SECRET", "--concurrency", "1"])
    assert f"`{again} --retry-failed`" in outcome.err
    assert again in (command.folder / "report.html").read_text()
    assert [record["input"]["api_key"] for record in records(command)] == [REDACTED] * 3
    check_hidden(command, outcome)


def test_a_secret_of_a_failed_row_is_in_no_record(command: Command) -> None:
    write(
        command,
        {"text": "a", "api_key": SECRET},
        {"text": "b", "api_key": SECRET, "count": "many"},
        {"text": "c", "api_key": SECRET * 3},
        {"text": "d", "api_key": [SECRET]},
        {"text": "e", "api_key": f"@{SECRET}"},
    )
    outcome = command(*WORDS, "-v")
    assert outcome.code == 1
    assert "api_key: the secret does not fit (maxLength)" in outcome.err
    assert "api_key: the secret is sent as it is" in outcome.err
    assert [record["input"]["api_key"] for record in records(command)] == [REDACTED] * 5
    check_hidden(command, outcome)
