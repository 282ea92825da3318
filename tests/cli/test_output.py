from __future__ import annotations

from pathlib import Path

import pytest

from replicate_job.cli.output import HEARTBEAT, LineReporter, shorten
from replicate_job.wire.prediction import Prediction


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def prediction(status: str, logs: str = "") -> Prediction:
    return Prediction(id="p", status=status, logs=logs)


def test_a_status_is_told_when_it_changes_and_then_once_a_heartbeat(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    reporter = LineReporter(verbose=True, now=clock)
    for status in ("starting", "starting", "processing", "processing"):
        reporter.saw(prediction(status))
    assert capsys.readouterr().err == "p starting\np processing\n"
    clock.now += HEARTBEAT - 0.1
    reporter.saw(prediction("processing"))
    assert capsys.readouterr().err == ""
    clock.now += 0.1
    reporter.saw(prediction("processing", " 40%|####      | 4/10 [00:01<00:02]\n"))
    assert capsys.readouterr().err == "p processing 40%\n"


def test_warnings_are_for_everyone_and_notes_for_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    for reporter, told in (
        (LineReporter(), "warning: a\n"),
        (LineReporter(verbose=True), "warning: a\nb\np starting\n"),
        (LineReporter(quiet=True), ""),
    ):
        reporter.warn("a")
        reporter.note("b")
        reporter.saw(prediction("starting"))
        captured = capsys.readouterr()
        assert captured.err == told
        assert captured.out == ""


def test_a_path_below_the_working_directory_is_shown_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shorten(tmp_path / "outputs" / "a.webp") == "outputs/a.webp"
    assert shorten(tmp_path.parent / "a.webp") == str(tmp_path.parent / "a.webp")
