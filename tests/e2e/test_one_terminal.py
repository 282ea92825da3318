"""stdout and stderr on one terminal: lines are complete while the progress is drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
ENDLESS = Script(duration=math.inf, output="done")


def batch(command: Command) -> list[str]:
    (command.folder / "rows.csv").write_text("text\na\nb\nc\n")
    return ["batch", HELLO, "rows.csv", "--results", "r.jsonl"]


def test_after_ctrl_c_a_batch_writes_complete_lines(api: ScriptedAPI, command: Command) -> None:
    api.next(*[ENDLESS] * 3)
    seated = command.on_one_terminal(*batch(command))
    api.wait_until(lambda: len(api.predictions) == 3)
    seated.type(b"\x03")
    code, lines = seated.end()
    assert code == 130
    assert lines[0] == "stopping, once it is known which predictions run; Ctrl-C ends at once"
    assert lines[1].startswith("3 left running: `replicate-job ")
    assert len(lines) == 2


def test_a_second_ctrl_c_shows_the_cursor_again(api: ScriptedAPI, command: Command) -> None:
    api.next(*[ENDLESS] * 3)
    seated = command.on_one_terminal(*batch(command))
    api.wait_until(lambda: len(api.predictions) == 3)
    api.faults.next("list", *["slow-before(60)"] * 9)
    api.faults.next("get", *["slow-before(60)"] * 9)
    seated.type(b"\x03\x03")
    code, lines = seated.end()
    assert code == 130
    assert lines[0] == "stopping, once it is known which predictions run; Ctrl-C ends at once"
    assert not [line for line in lines if "25h" in line]


@pytest.mark.parametrize("words", [["run", HELLO, "text=x", "--dry-run"], ["run", HELLO, "text=x"], ["check"]])
def test_output_on_stdout_starts_on_a_new_line(command: Command, words: list[str]) -> None:
    code, lines = command.on_one_terminal(*words).end()
    assert code == 0
    assert lines[0] in {"{", "token    set"}


def test_a_check_of_rows_prints_its_counts_on_lines_of_their_own(command: Command) -> None:
    code, lines = command.on_one_terminal(*batch(command), "--dry-run").end()
    assert code == 0
    assert (lines[0], lines[-2]) == ("{", "}")
    assert lines[-1].startswith("the price of ")


def test_results_on_the_terminal_are_on_lines_of_their_own(command: Command) -> None:
    words = batch(command)
    code, lines = command.on_one_terminal(*words[:-1], "-", "--no-save").end()
    assert code == 0
    assert sorted(line.partition(",")[0] for line in lines[:3]) == [f'{{"line":{line}' for line in (2, 3, 4)]
    assert lines[3].startswith("3 rows: 3 succeeded")


def test_jobs_that_are_resumed_together_print_on_lines_of_their_own(api: ScriptedAPI, command: Command) -> None:
    api.next(*[Script(duration=math.inf, end="failed", error="no memory")] * 2)
    for text in "ab":
        command("run", HELLO, f"text={text}", "--no-wait")
    seated = command.on_one_terminal("resume")
    api.wait_until(lambda: api.count("get") >= 2)
    for prediction in api.predictions:
        prediction.finish()
    code, lines = seated.end()
    assert code == 1
    assert (lines.count("{"), lines.count("}")) == (2, 2)
    told = [line for line in lines if line.startswith("error: prediction ")]
    assert len(told) == 2
    assert lines[-1] == "0 of 2 unfinished jobs succeeded"
