"""``@path`` for a text input: in a word, in ``--input`` and in rows, and the message about it on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"


@pytest.fixture(autouse=True)
def notes(command: Command) -> None:
    (command.folder / "notes.txt").write_text("from the file\n")


def given(api: ScriptedAPI) -> list[Any]:
    return [prediction.input["text"] for prediction in api.predictions]


@pytest.mark.parametrize("way", ["word", "--input", "stdin"])
def test_run_sends_the_text_of_a_file_or_the_typed_text_and_reports_which(
    api: ScriptedAPI, command: Command, way: str
) -> None:
    def run(text: str) -> str:
        typed = msgspec.json.encode({"text": text})
        (command.folder / "input.json").write_bytes(typed)
        words = {"word": [f"text={text}"], "--input": ["--input", "input.json"], "stdin": ["--input", "-"]}[way]
        outcome = command("run", HELLO, *words, typed=typed)
        assert outcome.code == 0
        return outcome.err

    assert run("@notes.txt") == "text: the text of the file notes.txt\n"
    assert run("@alice, hi") == "text: '@alice, hi' is sent as it is, for there is no such file\n"
    assert run("@@notes.txt") == ""
    assert given(api) == ["from the file", "@alice, hi", "@notes.txt"]


def test_with_quiet_no_message_says_how_an_at_sign_was_read(command: Command) -> None:
    assert command("run", HELLO, "text=@notes.txt", "-q").err == ""


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_may_name_text_files_and_the_summary_counts_them(api: ScriptedAPI, command: Command, suffix: str) -> None:
    texts = ["@notes.txt", "@alice", "@@notes.txt", "plain", "@notes.txt"]
    lines = ["text", *texts] if suffix == "csv" else [f'{{"text": "{text}"}}' for text in texts]
    (command.folder / f"rows.{suffix}").write_text("\n".join(lines) + "\n")
    outcome = command("batch", HELLO, f"rows.{suffix}", "--results", "r.jsonl", "--concurrency", "1")
    assert outcome.code == 0
    assert given(api) == ["from the file", "@alice", "@notes.txt", "plain", "from the file"]
    told = outcome.err.splitlines()
    assert told[:2] == [
        "text: the text of the file notes.txt",
        "text: '@alice' is sent as it is, for there is no such file",
    ]
    counted = [
        "text: 1 × text that starts with @@, sent as @",  # noqa: RUF001 - times
        "text: 2 × the text of a local file (@path)",  # noqa: RUF001 - times
        "text: 1 × text that starts with @, sent as it is, for there is no such file",  # noqa: RUF001 - times
    ]
    assert told[-3:] == counted
    dry = command("batch", HELLO, f"rows.{suffix}", "--results", "other.jsonl", "--dry-run")
    assert dry.err.splitlines()[-3:] == counted
    again = command("batch", HELLO, f"rows.{suffix}", "--results", "r.jsonl")
    assert again.err.splitlines()[-3:] == counted
    assert again.err.splitlines()[:2] == told[:2]
    assert again.err.count("the text of the file notes.txt") == 1
    assert len(api.predictions) == 5


def test_a_row_cannot_read_text_from_outside_its_folder(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "work" / "data").mkdir(parents=True)
    (command.folder / "work" / "data" / "rows.csv").write_text("text\n@../notes.txt\n@notes.txt\n@data/in.txt\n")
    (command.folder / "work" / "data" / "in.txt").write_text("inside")
    command.folder /= "work"
    outcome = command("batch", HELLO, "data/rows.csv", "--results", "r.jsonl")
    assert outcome.code == 1
    assert "text: ../notes.txt is outside of the folders from which a row may take text" in outcome.err
    assert sorted(given(api)) == ["@notes.txt", "inside"]


def test_the_summary_counts_the_rows_that_send_a_file(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (command.folder / "rows.csv").write_text("image\n@a.png\n")
    outcome = command("batch", "stability-ai/sdxl", "rows.csv", "--results", "r.jsonl")
    assert outcome.err.splitlines()[-1] == "image: 1 × a local file (@path)"  # noqa: RUF001 - times
    assert len(api.predictions) == 1
