"""A model's logs, which the API deletes an hour after the end: they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.batches.results.record import LOGS
from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

PRIVATE = "acme/private"
LINES = "loading\r 50%\r100%\nTraceback: \x1b[31mno memory\nlast words"
pytestmark = pytest.mark.replicate_api(expire=1.0)  # data of a prediction are deleted once they were told
FAILED = Script(end="failed", error="it broke", logs=LINES, boot=0, duration=0)


def gone(api: ScriptedAPI) -> None:
    api.wait_until(lambda: all(each.snapshot()["data_removed"] for each in api.predictions))


def records(command: Command) -> dict[int, dict[str, Any]]:
    lines = (command.folder / "results.jsonl").read_bytes().splitlines()
    return {record["line"]: record for record in map(msgspec.json.decode, lines)}


def test_show_prints_logs_that_the_api_has_deleted(api: ScriptedAPI, command: Command) -> None:
    api.next(FAILED)
    made = command("run", PRIVATE).response["prediction_id"]
    gone(api)
    outcome = command("show", made, "--logs")
    assert (outcome.code, outcome.out.decode(), outcome.err) == (0, LINES, "")
    on_terminal = command.on_terminal("show", made, "--logs").out.decode()
    assert on_terminal == "loading\n 50%\n100%\nTraceback: \\u001b[31mno memory\nlast words\n"
    assert command("show", made).response["status"] == "failed"


def test_show_prints_the_logs_of_a_prediction_that_another_program_created(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=0, boot=0, logs="a\nb\n"))
    made = command("run", PRIVATE).response["prediction_id"]
    command.journal.unlink()
    assert command("show", made, "--logs").out in {b"a\nb\n", b""}


def test_the_record_beside_the_output_files_holds_the_logs(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(output=OutputFile(content=b"x", name="a.png"), logs="step 1\nstep 2\n", boot=0, duration=0))
    made = command("run", "stability-ai/sdxl").response["prediction_id"]
    record = msgspec.json.decode((command.folder / "outputs" / made / "result.json").read_bytes())
    assert record["logs"] == "step 1\nstep 2\n"


def test_a_failed_row_has_its_logs_in_its_record_and_in_the_report(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    long = "".join(f"line {number}\n" for number in range(10_000))
    fine = Script(duration=0, boot=0, output="done", logs="all well\n")
    api.next(fine, FAILED, Script(end="failed", error="it broke", logs=long, boot=0, duration=0))
    words = ("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl", "--concurrency", "1")
    for _ in range(2):
        assert command(*words).code == 1
        found = records(command)
        assert "logs" not in found[1]
        assert found[2]["logs"] == LINES
        assert found[3]["logs"].startswith("line ")
        assert found[3]["logs"].endswith("line 9999\n")
        assert LOGS - 20 < len(found[3]["logs"]) <= LOGS
        page = (command.folder / "report.html").read_text()
        assert "<summary>Logs of line 2</summary>" in page
        assert "no memory\nlast words" in page
        gone(api)


def test_show_can_print_only_the_logs_or_only_the_output(command: Command) -> None:
    outcome = command("show", "x" * 26, "--logs", "--output-only")
    assert outcome.code == 2
    assert "--logs and --output-only exclude each other" in outcome.err
