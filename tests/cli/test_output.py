from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from replicate_job.cli.output import HEARTBEAT, LineReporter, conclude, print_carried, shorten
from replicate_job.errors import JobTimeoutError, JournalError, OutputError, ReplicateJobError
from replicate_job.job import Job, Result
from replicate_job.wire.prediction import Prediction

MODEL = "a/b"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def prediction(status: str, logs: str = "") -> Prediction:
    return Prediction(id="p", status=status, logs=logs)


def test_a_status_is_written_when_it_changes_and_is_repeated_at_each_heartbeat(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    reporter = LineReporter(verbose=True, now=clock)
    for status in ("starting", "starting", "processing", "processing"):
        reporter.observed(prediction(status))
    assert capsys.readouterr().err == "p starting\np processing\n"
    clock.now += HEARTBEAT - 0.1
    reporter.observed(prediction("processing"))
    assert capsys.readouterr().err == ""
    clock.now += 0.1
    reporter.observed(prediction("processing", " 40%|####      | 4/10 [00:01<00:02]\n"))
    assert capsys.readouterr().err == "|  40%|####      | 4/10 [00:01<00:02]\np processing 40%\n"


def test_each_line_of_the_models_log_is_written_once_and_completely(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter(verbose=True, now=Clock())
    for status, logs in (("processing", "a\nb"), ("processing", "a\nbc\n"), ("succeeded", "a\nbc\nd")):
        reporter.observed(prediction(status, logs))
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("|")] == ["| a", "| bc", "| d"]


@pytest.mark.parametrize(
    ("verbose", "quiet", "told"),
    [(False, False, "Stand-in: b\n"), (True, False, "| a\n| Stand-in: b\n"), (False, True, "")],
)
def test_the_inputs_that_a_stand_in_model_ignored_are_written_once_except_with_quiet(
    *, verbose: bool, quiet: bool, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = LineReporter(verbose=verbose, quiet=quiet, now=Clock())
    for status in ("processing", "succeeded"):
        reporter.observed(prediction(status, "a\nStand-in: b\n"))
    assert "".join(f"{line}\n" for line in capsys.readouterr().err.splitlines() if "p " not in line) == told


async def test_while_a_job_waits_a_line_is_written_at_each_heartbeat() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    class Listening(LineReporter):
        def line(self, text: str, level: str = "") -> None:  # noqa: ARG002 - the base class's parameters
            heard.put_nowait(text)

    beating = asyncio.create_task(Listening(verbose=True, every=0.01).beat())
    assert [await heard.get(), await heard.get()] == ["waiting, 0 s so far"] * 2
    beating.cancel()


def test_notes_are_written_only_with_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    for reporter, told in (
        (LineReporter(), "warning: a\nc\n"),
        (LineReporter(verbose=True), "warning: a\nc\nb\np starting\n"),
        (LineReporter(quiet=True), ""),
    ):
        reporter.warn("a")
        reporter.tell("c")
        reporter.note("b")
        reporter.observed(prediction("starting"))
        captured = capsys.readouterr()
        assert captured.err == told
        assert captured.out == ""


def test_a_path_below_the_working_directory_is_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shorten(tmp_path / "outputs" / "a.webp") == "outputs/a.webp"
    assert shorten(tmp_path.parent / "a.webp") == str(tmp_path.parent / "a.webp")


def unfinished() -> Result:
    return Result(prediction_id="p", status="processing", model=MODEL, input={})


LIMITED = Job(MODEL, max_poll_attempts=60)


def test_after_a_timeout_the_message_suggests_the_commands_wait_and_cancel(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(unfinished(), LIMITED, line=lambda *words: f"<{' '.join(words)}>") == 5
    told = "prediction p is still processing after 60 s and is left running: <wait p> goes on, <cancel p> ends it\n"
    assert capsys.readouterr().err == told


def test_after_a_timeout_at_the_local_server_the_message_suggests_the_command_resume(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert conclude(unfinished(), LIMITED, line=lambda *words: f"<{' '.join(words)}>", ephemeral=True) == 5
    assert capsys.readouterr().err == (
        "prediction p is still processing after 60 s, and ended with the local server: "
        "<resume --timeout 10m> runs it again, with more time\n"
    )


@pytest.mark.parametrize("kind", [OutputError, JournalError, JobTimeoutError])
def test_an_error_with_a_result_prints_the_result(kind: Any, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for result, start in ((unfinished(), b'{"prediction_id":"p","status":"processing"'), (None, b"")):
        with pytest.raises(kind, match="full"), print_carried():
            raise kind("full", result)
        shown = capsysbinary.readouterr().out
        assert shown.startswith(start)
        assert bool(shown) == bool(result)


def test_an_error_without_a_result_prints_nothing(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with pytest.raises(ReplicateJobError), print_carried():
        raise ReplicateJobError("no")
    assert capsysbinary.readouterr().out == b""
