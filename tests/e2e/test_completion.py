"""Shell completion: by click's protocol, and in bash itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

FLUX = "black-forest-labs/flux-schnell"
SCRIPT = Path(sys.executable).with_name("replicate-job")


def offered(command: Command, *words: str) -> list[tuple[str, str]]:
    """The kind and value of each completion of the last word."""
    line = " ".join(["replicate-job", *words])
    asked = {"_REPLICATE_JOB_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    outcome = command(env=asked)
    assert (outcome.code, outcome.err) == (0, "")
    found = [line.partition(",") for line in outcome.out.decode().splitlines()]
    return [(kind, value) for kind, _, value in found]


def test_commands_are_offered(command: Command) -> None:
    assert offered(command, "s") == [("plain", name) for name in ("status", "show", "search", "schema", "serve")]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("run", "--out"), {"--output-only"}),
        (("run", FLUX, "--web"), {"--webhook", "--webhook-events"}),
        (
            ("batch", FLUX, "rows.csv", "--re"),
            {
                *("--rename", "--report", "--results", "--reuse"),
                *("--retries", "--retry-failed", "--retry-on", "--retry-uncertain"),
            },
        ),
        (("serve", "--max"), {"--max-models"}),
        (("list", "--js"), {"--json"}),
    ],
)
def test_options_of_a_command_are_offered(command: Command, words: tuple[str, ...], options: set[str]) -> None:
    assert {value for _, value in offered(command, *words)} == options


@pytest.mark.parametrize("verb", ["run", "batch", "schema"])
def test_models_of_this_machine_are_offered(command: Command, verb: str) -> None:
    names = {value for kind, value in offered(command, verb, "black") if kind == "plain"}
    assert names == {FLUX}
    every = {value for kind, value in offered(command, verb, "") if kind == "plain"}
    assert {FLUX, "openai/whisper", "replicate/hello-world"} <= every
    assert not any(name.startswith("_") for name in every)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("run", "ru"), "file"),
        (("run", "--input", "in"), "file"),
        (("batch", FLUX, "ro"), "file"),
        (("batch", FLUX, "rows.csv", "--results", "r"), "file"),
        (("list", "--journal", "j"), "file"),
        (("run", FLUX, "--save", "o"), "dir"),
        (("serve", "m"), "dir"),
    ],
)
def test_files_and_folders_are_offered_for_options_that_take_them(
    command: Command, words: tuple[str, ...], kind: str
) -> None:
    assert offered(command, *words)[0] == (kind, words[-1])


def test_further_events_of_a_webhook_are_offered_after_each_chosen_event(command: Command) -> None:
    assert offered(command, "run", FLUX, "--webhook-events", "start,co") == [("plain", "start,completed")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(command: Command, shell: str) -> None:
    outcome = command(env={"_REPLICATE_JOB_COMPLETE": f"{shell}_source"})
    assert outcome.code == 0
    assert f"_REPLICATE_JOB_COMPLETE={shell}_complete" in outcome.out.decode()


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "completed"), [("run black", FLUX), ("run --output", "--output-only"), ("sche", "schema")]
)
def test_bash_completes_words_with_the_script(command: Command, typed: str, completed: str) -> None:
    words = ["replicate-job", *typed.split()]
    script = f"""
        PATH={SCRIPT.parent}:$PATH
        eval "$(_REPLICATE_JOB_COMPLETE=bash_source replicate-job)"
        COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
        compopt() {{ :; }}
        _replicate_job_completion replicate-job
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    outcome = command.execute(["bash", "-c", script]).end()
    assert (outcome.out.decode(), outcome.err) == (f"{completed}\n", "")
