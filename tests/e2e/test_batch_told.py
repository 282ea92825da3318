"""The messages of ``batch``: why it stops, and its progress in logs, on a terminal and in the report."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"
WORDS = ["batch", HELLO, "rows.jsonl", "--results", "results.jsonl"]
AGAIN = "`replicate-job batch replicate/hello-world rows.jsonl --results results.jsonl"


def texts(command: Command, many: int) -> None:
    (command.folder / "rows.jsonl").write_text("".join(f'{{"text": "{number}"}}\n' for number in range(many)))


def test_after_a_402_a_batch_stops_with_advice_and_can_be_continued(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("create", None, None, *["402"] * 4)
    texts(command, 6)
    outcome = command(*WORDS)
    assert outcome.code == 3
    told = outcome.err.splitlines()
    assert told[0].startswith("2 rows: 2 succeeded; ")
    assert told[1] == f"4 still to run: {AGAIN}` goes on with them"
    assert told[2].startswith("error: ")
    assert "402" in told[2]
    assert "add credit at https://replicate.com/account/billing" in told[2]
    assert len(told) == 3
    api.faults.clear()
    assert command(*WORDS).code == 0
    assert len(api.predictions) == 6
    assert (command.folder / "results.jsonl").read_bytes().count(b"\n") == 6


def test_the_error_for_a_wrong_token_names_the_variable_to_check(api: ScriptedAPI, command: Command) -> None:
    texts(command, 3)
    outcome = command(*WORDS, env={"REPLICATE_API_TOKEN": "r8_wrong"})
    assert outcome.code == 3
    assert "401" in outcome.error
    assert "check REPLICATE_API_TOKEN" in outcome.error
    assert "r8_wrong" not in outcome.error
    assert not api.predictions


def test_a_token_that_is_revoked_during_a_batch_is_reported_once(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("create", None, *["401"] * 9)
    texts(command, 3)
    outcome = command(*WORDS, "--concurrency", "1")
    assert outcome.code == 3
    assert outcome.err.count("401") == 1
    assert outcome.err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.jsonl", "--results", "r.jsonl"], "none.jsonl"),
        (["rows.jsonl", "--results", "/proc/none/r.jsonl"], "the folder of /proc/none/r.jsonl cannot be made"),
        (["rows.jsonl", "--results", "."], ". is a folder: name a file in it"),
        (["rows.jsonl", "--results", "rows.jsonl"], "rows.jsonl exists and is not a results file"),
        (["rows.txt", "--results", "r.jsonl"], "rows.txt"),
    ],
)
def test_missing_files_are_named_and_nothing_is_created(
    api: ScriptedAPI, command: Command, words: list[str], said: str
) -> None:
    texts(command, 1)
    outcome = command("batch", HELLO, *words)
    assert outcome.code == 2
    assert outcome.error.startswith("error: ")
    assert said in outcome.error
    assert not api.count("create")
    assert (command.folder / "rows.jsonl").read_text() == '{"text": "0"}\n'


def test_the_results_file_of_another_batch_is_not_replaced(api: ScriptedAPI, command: Command) -> None:
    texts(command, 1)
    command(*WORDS)
    before = (command.folder / "results.jsonl").read_bytes()
    outcome = command("batch", "meta/llama-2-70b-chat", *WORDS[2:], "--rename", "text=prompt")
    assert outcome.code == 2
    assert outcome.error.startswith("error: results.jsonl holds the results of another batch")
    assert (command.folder / "results.jsonl").read_bytes() == before
    assert len(api.predictions) == 1


def test_a_file_without_rows_is_refused_and_keeps_the_old_results_while_a_pipe_may_be_empty(
    api: ScriptedAPI, command: Command
) -> None:
    texts(command, 1)
    command(*WORDS)
    before = (command.folder / "results.jsonl").read_bytes()
    texts(command, 0)
    for words in ([], ["--dry-run"]):
        outcome = command(*WORDS, *words)
        assert (outcome.code, outcome.error) == (2, "error: rows.jsonl has no rows: nothing was done")
    assert (command.folder / "results.jsonl").read_bytes() == before
    (command.folder / "rows.csv").write_text("text\n")
    assert command("batch", HELLO, "rows.csv", "--results", "other.jsonl").code == 2
    outcome = command("batch", HELLO, "-", "--results", "piped.jsonl", "--no-report")
    assert (outcome.code, outcome.error) == (0, "no rows")
    assert len(api.predictions) == 1


def test_a_batch_without_rows_writes_nothing_into_the_journal(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "poster.toml").write_text(
        f'title = "poster"\n[[step]]\nname = "draw"\nmodel = "{HELLO}"\ninput.text = "{{text}}"\n'
    )
    for words in (
        [HELLO, "-", "--results", "piped.jsonl"],
        [HELLO, "-", "--results", "-"],
        ["poster.toml", "-", "--results", "chains.jsonl"],
        [HELLO, "-", "--results", "dry.jsonl", "--dry-run"],
    ):
        assert command("batch", *words, "--no-report").code == 0
        listed = command("list")
        assert (listed.code, listed.out, listed.error) == (0, b"", "no jobs yet")
    assert not api.predictions


def test_the_look_up_after_a_broken_connection_is_reported_only_with_verbose(
    api: ScriptedAPI, command: Command
) -> None:
    texts(command, 1)
    assert command(*WORDS, "-q").err == ""
    (command.folder / "rows.jsonl").write_text('{"text": "new"}\n')
    api.faults.next("create", "drop-after")
    told = command(*WORDS, "-v").err.splitlines()
    assert told[0].endswith("looking whether the prediction was created")
    assert told[1] == f"it was created: {api.predictions[1].id}"
    assert told[2].startswith("1 row: 1 succeeded; ")


def test_a_log_gets_a_line_of_progress_regularly(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(), Script(duration=math.inf))
    texts(command, 2)
    process = command.start(*WORDS)
    assert re.match(r"1 of 2 done, 1 running, 0 waiting\b", process.line())
    api.predictions[1].finish()
    assert process.end().code == 0


def test_a_terminal_shows_a_bar_and_then_the_summary(api: ScriptedAPI, command: Command) -> None:
    api.models[HELLO] = msgspec.structs.replace(api.models[HELLO], script=Script(duration=0.6, output="x"))
    texts(command, 20)
    outcome = command.on_terminal(*WORDS)
    assert outcome.code == 0
    assert re.search(r"[━╸╺]+", outcome.err)
    assert "0/20" in outcome.err
    assert re.search(r"[1-9]\d* running", outcome.err)
    assert "\x1b[?25h" in outcome.err  # the cursor is back
    assert re.search(r"20 rows: 20 succeeded; \S+ s predict time, no files\r\n$", outcome.err)


def test_the_report_is_one_file_that_loads_no_other_files(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(end="failed", error="no <memory>"))
    (command.folder / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    command("batch", FLUX, *WORDS[2:])
    report = (command.folder / "report.html").read_text()
    assert "no &lt;memory&gt;" in report
    assert FLUX in report
    assert not re.search(r"(?:src|href)=.?(?:https?:)?//", report)
    place = next((command.folder / "outputs").rglob("output-0.webp")).relative_to(command.folder)
    assert "data:image/webp" in report or str(place) in report


def test_the_options_report_and_no_report_choose_whether_and_where_the_report_is_written(command: Command) -> None:
    texts(command, 1)
    command(*WORDS, "--no-report")
    assert not list(command.folder.glob("*.html"))
    command(*WORDS, "--report", "other.html")
    assert [path.name for path in command.folder.glob("*.html")] == ["other.html"]


def test_a_missing_network_is_reported(command: Command) -> None:
    texts(command, 1)
    outcome = command(*WORDS, env={"REPLICATE_BASE_URL": "http://127.0.0.1:9"})
    assert outcome.code == 3
    assert "no connection" in outcome.err.splitlines()[-1]
