"""``--log-format json``: every line on stderr is a JSON object that says which job it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

JSON = ("--log-format", "json")
MODEL = "acme/private"


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    """The lines of stderr, each of which must be an object with a time, a level and a message."""
    found = [msgspec.json.decode(line) for line in outcome.err.splitlines()]
    for line in found:
        age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
        assert timedelta(0) < age < timedelta(minutes=2)
        assert line["level"] in {"debug", "info", "warning", "error"}
        assert line["message"]
        assert not line["message"].startswith(("error: ", "warning: "))
    return found


def test_log_lines_about_a_job_have_its_key_and_prediction_and_model(command: Command, api: ScriptedAPI) -> None:
    api.next(Script(duration=0.2, logs="loading\n", end="failed", error="out of memory"))
    outcome = command("run", MODEL, "n=1", "--key", "mine", "--no-save", "-v", *JSON)
    assert outcome.code == 1
    said = lines(outcome)
    about = {"key": "mine", "model": MODEL, "prediction": outcome.response["prediction_id"]}
    (failure,) = [line for line in said if line["level"] == "error"]
    assert failure | about == failure
    assert failure["message"] == f"prediction {about['prediction']} failed: out of memory"
    (log,) = [line for line in said if line["message"] == "| loading"]
    assert log | about | {"level": "debug"} == log


def test_an_error_that_ends_a_command_is_logged_as_an_object_with_its_job(command: Command, api: ScriptedAPI) -> None:
    api.faults.next("create", "402")
    (line,) = lines(command("run", MODEL, "n=1", "--key", "mine", *JSON))
    assert (line["level"], line["key"], line["model"]) == ("error", "mine", MODEL)
    assert "prediction" not in line


def test_log_lines_about_a_batch_have_the_batch_and_its_rows(command: Command, api: ScriptedAPI) -> None:
    (command.folder / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    api.next(Script(end="failed", error="bad luck"))
    api.faults.next("create", "503")
    outcome = command("batch", MODEL, "rows.jsonl", "--results", "r.jsonl", "--no-save", "-v", "--concurrency=1", *JSON)
    said = lines(outcome)
    assert {line["model"] for line in said if "batch" in line} == {MODEL}
    (batch,) = {line["batch"] for line in said if "batch" in line}
    results = [msgspec.json.decode(line) for line in (command.folder / "r.jsonl").read_bytes().splitlines()]
    (row,) = [line for line in said if "bad luck" in line["message"] and "prediction" in line]
    (failed,) = [result for result in results if result["status"] == "failed"]
    assert row["batch"] == batch
    assert row["prediction"] == failed["prediction_id"]
    assert row["key"].startswith(f"{batch}/")
    (broken,) = [line for line in said if "looking whether" in line["message"]]
    assert broken["level"] == "warning"
    assert broken["key"].startswith(f"{batch}/")


def test_with_quiet_only_errors_are_logged(command: Command, api: ScriptedAPI) -> None:
    api.next(Script(end="failed", error="no"))
    outcome = command("run", MODEL, "n=1", "--no-save", "-q", *JSON)
    assert [line["level"] for line in lines(outcome)] == ["error"]


@pytest.mark.parametrize("words", [("run", "--nonsense"), ("nonsense",), ("show", "no-such-prediction")])
def test_errors_in_the_command_line_are_logged_as_objects_too(command: Command, words: tuple[str, ...]) -> None:
    (line,) = lines(command(*words, env={"REPLICATE_JOB_LOG_FORMAT": "json"}))
    assert line["level"] == "error"


def test_the_option_overrides_the_variable_and_an_invalid_variable_is_an_error(command: Command) -> None:
    asked = command("show", "no-such", "--log-format=text", env={"REPLICATE_JOB_LOG_FORMAT": "json"})
    assert asked.error.startswith("error: ")
    wrong = command("show", "no-such", env={"REPLICATE_JOB_LOG_FORMAT": "xml"})
    assert (wrong.code, wrong.error) == (2, "error: REPLICATE_JOB_LOG_FORMAT is 'xml': it must be text or json")


def test_with_a_json_log_nothing_is_drawn_on_a_terminal(command: Command, api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(duration=1, output="x"))
    (command.folder / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    words = ("batch", MODEL, "rows.jsonl", "--results", str(tmp_path / "r.jsonl"), "--no-save")
    outcome = command.on_terminal(*words, *JSON)
    assert "\x1b" not in outcome.err
    assert lines(outcome)
