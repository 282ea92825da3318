"""Commands in a folder that was deleted, for example by a script that cleans up too early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

    from replicate_job.testing import ScriptedAPI

FLUX = ("black-forest-labs/flux-schnell", "prompt=x")
IN_DELETED_FOLDER = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'


def lost(command: Command, *words: str) -> Outcome:
    """Run the command in a folder that no longer exists."""
    return command.execute(["sh", "-c", IN_DELETED_FOLDER, "sh", *command.program, *words]).end()


@pytest.mark.parametrize(
    "words",
    [
        ("run", *FLUX),
        ("run", *FLUX, "--save", "{id}/{name}"),
        ("run", *FLUX, "--no-save", "--journal", "here.db"),
        ("list", "--journal", "here.db"),
        ("batch", FLUX[0], "rows.jsonl", "--results", "results.jsonl"),
        ("batch", FLUX[0], "/dev/null", "--results", "results.jsonl", "--no-save"),
        ("batch", FLUX[0], "--grid", "prompt=a,b", "--results", "results.jsonl"),
        ("batch", FLUX[0], "-", "--results", "results.jsonl", "--no-save"),
    ],
    ids=["outputs", "a template", "a journal", "list", "rows", "results", "a grid", "a pipe"],
)
def test_one_line_says_that_the_current_folder_no_longer_exists(
    api: ScriptedAPI, command: Command, words: tuple[str, ...]
) -> None:
    refused = lost(command, *words)
    assert (refused.code, refused.out) == (2, b"")
    assert refused.error == "error: the current folder no longer exists: change to another folder"
    assert not api.predictions


def test_a_command_whose_paths_are_all_absolute_runs_in_a_folder_that_no_longer_exists(
    api: ScriptedAPI, command: Command
) -> None:
    outputs = command.folder / "outputs"
    outcome = lost(command, "run", *FLUX, "--save", str(outputs))
    assert outcome.code == 0, outcome
    (file,) = outcome.response["files"]
    assert file.startswith(str(outputs))
    assert lost(command, "list").out.splitlines()[-1].endswith(file.encode())
    assert len(api.predictions) == 1
