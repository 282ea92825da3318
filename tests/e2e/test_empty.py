"""An empty value, as a shell makes it from an unset variable, is refused in one line before any request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

HELLO = "replicate/hello-world"
CHAIN = f'[[step]]\nname = "greet"\nmodel = "{HELLO}"\ninput = {{ text = "{{text}}" }}\n'
BATCH = ["batch", HELLO, "rows.csv", "--results", "results.jsonl"]


@pytest.fixture(autouse=True)
def files(command: Command) -> None:
    (command.folder / "greet.toml").write_text(CHAIN)
    (command.folder / "rows.csv").write_text("text\nx\n")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "greet.toml", "text=x", "--key", ""],
        ["run", "greet.toml", "text=x", "--input", ""],
        ["run", HELLO, "text=x", "--key", ""],
        ["run", HELLO, "text=x", "--input", ""],
        ["run", HELLO, "text=x", "--save", ""],
        ["run", HELLO, "text=x", "--journal", ""],
        [*BATCH, "--save", ""],
        [*BATCH, "--report", ""],
        [*BATCH, "--header", ""],
        [*BATCH, "--format", ""],
        [*BATCH, "--ignore-columns", ""],
        ["wait", "ufawqhfynnddngldkgtslldrkq", "--key", ""],
        ["train", HELLO, "acme/x", "--key", ""],
        ["train", HELLO, ""],
        ["pull", "--model", ""],
        ["resume", "--save", ""],
        ["list", "--journal", ""],
    ],
)
def test_an_empty_value_is_refused_in_one_line(api: ScriptedAPI, command: Command, words: list[str]) -> None:
    outcome = command(*words)
    assert outcome.code == 2
    name = words[-2] if words[-2].startswith("--") else "DESTINATION"
    assert outcome.error.startswith(f"error: {name} is empty")
    assert not api.requests
    assert not command.journal.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "greet.toml", "text=x"],
        ["run", HELLO, "text=x"],
        ["wait", "ufawqhfynnddngldkgtslldrkq"],
    ],
)
def test_a_blank_key_is_refused_before_any_request(api: ScriptedAPI, command: Command, words: list[str]) -> None:
    outcome = command(*words, "--key", " ")
    assert outcome.code == 2
    assert outcome.error == "error: the key is empty: name the job, or give no key"
    assert not api.requests
