"""A batch's report replaces no other file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"


def write(command: Command, *texts: str, name: str = "rows.jsonl") -> None:
    (command.folder / name).write_bytes(b"".join(msgspec.json.encode({"text": text}) + b"\n" for text in texts))


def batch(command: Command, *words: str) -> Outcome:
    return command("batch", HELLO, "rows.jsonl", "--results", "results.jsonl", *words)


OTHERS = {
    "a page of one's own": "<!DOCTYPE html>\n<html><head><title>My thesis</title></head></html>",
    "an older report of another batch": '<!DOCTYPE html>\n<html lang="en"><head><title>acme/private, a.jsonl</title>',
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_a_report_does_not_replace_another_file(api: ScriptedAPI, command: Command, text: str) -> None:
    write(command, "a")
    (command.folder / "report.html").write_text(text)
    outcome = batch(command, "--report", "report.html")
    assert outcome.code == 2
    assert outcome.error == (
        "error: report.html exists and is not the report of this batch: "
        "name another file with --report, or write none with --no-report"
    )
    assert not api.predictions
    assert batch(command, "--no-report").code == 0
    assert batch(command, "--report", "mine.html").code == 0
    assert "replicate-job" in (command.folder / "mine.html").read_text()
    outcome = batch(command)
    assert "report.html is not the report of this batch and stays as it is: the report is results.html" in outcome.err
    assert "replicate-job" in (command.folder / "results.html").read_text()
    assert (command.folder / "report.html").read_text() == text


def test_a_report_does_not_replace_the_report_of_another_batch(api: ScriptedAPI, command: Command) -> None:
    write(command, "a")
    assert batch(command).code == 0
    before = (command.folder / "report.html").read_bytes()
    write(command, "b", name="other.jsonl")
    outcome = command("batch", HELLO, "other.jsonl", "--results", "other.out.jsonl")
    assert (outcome.code, len(api.predictions)) == (0, 2)
    assert "report.html is not the report of this batch and stays as it is: the report is other.out.html" in outcome.err
    assert (command.folder / "other.out.html").exists()
    assert (command.folder / "report.html").read_bytes() == before


def test_a_report_replaces_an_earlier_report_of_the_same_batch_even_from_an_older_release(command: Command) -> None:
    write(command, "a")
    (command.folder / "report.html").write_text(f"<!DOCTYPE html>\n<title>{HELLO}, rows.jsonl</title>")
    assert batch(command).code == 0
    write(command, "a", "b")
    assert batch(command).code == 0
    assert "2 rows" in (command.folder / "report.html").read_text()
