"""Output to people: wide and narrow terminals, pipes that close, locales without Unicode."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script, Stream

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
LOGS = "".join(f" {step * 10}%| | {step}/10 [00:00<00:00]\n" for step in range(1, 11))
SLOW = Script(duration=0.8, boot=0.1, output="done", logs=LOGS)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_json_is_indented_on_a_terminal(command: Command) -> None:
    shown = command.on_terminal("run", HELLO, "text=x").out.decode()
    assert shown.startswith('{\n  "prediction_id": "')
    assert shown.endswith("\n}\n")


def test_a_terminal_shows_the_status_and_the_bar_and_then_clears_the_line(api: ScriptedAPI, command: Command) -> None:
    api.next(SLOW)
    api.faults.next("create", "slow-after(1ms)")
    outcome = command.on_terminal("run", HELLO, "text=x", "--poll-interval", "0.1", "--max-poll-attempts", "99")
    told = CONTROL.sub("", outcome.err)
    assert outcome.code == 0
    assert f"processing {api.predictions[0].id}" in told
    assert re.search(r"[━╸╺]+", told)
    assert re.search(r"\d+/10", told)
    assert outcome.err.rstrip("\r\n").endswith("\x1b[2K")  # the line is erased
    assert "\x1b[?25h" in outcome.err  # and the cursor is back


def test_the_error_of_a_failed_prediction_is_the_last_line_on_the_terminal(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(end="failed", error="no memory"))
    outcome = command.on_terminal("run", HELLO, "text=x")
    assert outcome.code == 1
    assert outcome.err.endswith(f"error: prediction {api.predictions[0].id} failed: no memory\r\n")


@pytest.mark.parametrize("width", [1, 7, 40])
def test_no_line_is_wider_than_a_narrow_terminal(api: ScriptedAPI, command: Command, width: int) -> None:
    api.next(SLOW)
    assert command.on_terminal("run", HELLO, "text=x", width=width).code == 0
    assert command.on_terminal("list", width=width).code == 0
    assert command.on_terminal("schema", HELLO, width=width).code == 0
    assert command.on_terminal("run", "--help", width=width).code == 0


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}])
def test_a_terminal_that_cannot_draw_gets_no_control_characters(
    api: ScriptedAPI, command: Command, environment: dict[str, str]
) -> None:
    api.next(SLOW)
    outcome = command.on_terminal("run", HELLO, "text=x", env=environment)
    assert outcome.code == 0
    assert "\x1b" not in outcome.err


def test_the_environment_variable_no_color_turns_colors_off(api: ScriptedAPI, command: Command) -> None:
    api.next(SLOW)
    outcome = command.on_terminal("run", HELLO, "text=x", env={"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", outcome.err)


def test_with_quiet_nothing_is_drawn(api: ScriptedAPI, command: Command) -> None:
    api.next(SLOW)
    assert command.on_terminal("run", HELLO, "text=x", "-q").err == ""


def test_streamed_text_is_alone_on_the_terminal_and_ends_its_line(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=0.3, output=["Once", " upon"], stream=Stream()))
    outcome = command.on_terminal("run", "meta/llama-2-70b-chat", "prompt=x", "--stream")
    assert outcome.out == b"Once upon\n"
    assert outcome.err == ""


def shell(command: Command, tail: str, *words: str) -> tuple[int, str]:
    """Run under a shell, with ``tail`` (a redirection) after the command: its exit code and its stderr."""
    line = f"{shlex.join([*command.program, *words])} {tail}"
    outcome = command.execute(["sh", "-c", line]).end()
    return outcome.code, outcome.err


def test_a_job_goes_on_to_its_end_when_the_reader_of_its_stdout_closes_the_pipe(command: Command) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = command.start("run", "black-forest-labs/flux-schnell", "prompt=x", stdout=writing)
    os.close(writing)
    outcome = process.end()
    assert (outcome.code, outcome.err) == (0, "")
    assert command("list", "--json").json[0]["state"] == "collected"


@pytest.mark.parametrize("words", [["list"], ["--help"], ["schema", HELLO], ["check"]])
def test_a_command_prints_no_error_when_the_reader_of_its_stdout_has_closed_the_pipe(
    command: Command, words: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = command.start(*words, stdout=writing)
    os.close(writing)
    outcome = process.end()
    assert outcome.code == int(words == ["--help"])  # click's own way
    assert "rror" not in outcome.err


def test_a_job_goes_on_to_its_end_when_the_reader_of_its_stderr_closes_the_pipe(
    api: ScriptedAPI, command: Command
) -> None:
    api.faults.next("create", "drop-after", "429(body=0)")  # something to warn about
    assert shell(command, "2>&1 >&- | true", "run", "black-forest-labs/flux-schnell", "prompt=x") == (0, "")
    api.wait_until(lambda: command.rows("state") == [{"state": "collected"}])


@pytest.mark.parametrize("tail", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_a_command_runs_even_if_its_standard_streams_are_closed_from_the_start(command: Command, tail: str) -> None:
    code, told = shell(command, tail, "run", "black-forest-labs/flux-schnell", "prompt=x")
    assert (code, told) == (0, "")
    assert command("list", "--json").json[0]["state"] == "collected"


def test_a_full_disk_behind_stdout_causes_an_error_and_the_job_stays_in_the_journal(command: Command) -> None:
    code, told = shell(command, "> /dev/full", "run", HELLO, "text=x")
    assert code == 3
    assert told == "error: stdout cannot be written: No space left on device\n"
    assert command("list", "--json").json[0]["state"] == "collected"


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_output_is_utf_8_whatever_the_locale_says(
    api: ScriptedAPI, command: Command, environment: dict[str, str]
) -> None:
    text = {"text": "grüß 山"}
    (command.folder / "input.json").write_text('{"text": "grüß 山"}', "utf-8")
    outcome = command("run", HELLO, "--input", "input.json", "--key", "ключ", env=environment)
    assert outcome.response["input"] == text
    assert api.predictions[0].input == text
    assert command("list", env=environment).code == 0
    failed = command("run", HELLO, "--input", "нет.json", env=environment)
    assert failed.code == 2
    assert failed.error.startswith("error: --input ")


def test_words_of_any_script_are_sent_as_they_were_typed(command: Command) -> None:
    outcome = command("run", HELLO, "text=山 → 'x' \"y\" = \\ 🌄", env={"LC_ALL": "C"})
    assert outcome.response["output"] == "hello 山 → 'x' \"y\" = \\ 🌄"


def test_a_word_that_is_not_valid_text_in_its_encoding_is_refused(api: ScriptedAPI, command: Command) -> None:
    outcome = command("run", HELLO, os.fsdecode(b"text=a\xffb"))
    assert outcome.code == 2
    assert outcome.error == r"error: 'text=a\udcffb' is not valid Unicode: write it in this locale's utf-8"
    assert not api.requests


def test_a_word_that_the_locales_encoding_cannot_represent_is_refused(command: Command) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    outcome = command("run", HELLO, "text=ü", env=ascii_only)
    assert outcome.code == 2
    assert outcome.error.endswith("write it in this locale's ascii")
