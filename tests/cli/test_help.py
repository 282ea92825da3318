"""The helps of the commands, and what a mistyped word is answered."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from replicate_job.cli.main import COMMANDS, cli


def examples(name: str) -> list[str]:
    command = cli.get_command(click.Context(cli), name) if name else cli
    assert command
    assert command.epilog
    first, *lines = command.epilog.removeprefix("\b\n").splitlines()
    assert first == "Examples:"
    return [line.strip() for line in lines]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_it_understands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    for line in examples(name):
        words = shlex.split(line, comments=True)
        (ours,) = [place for place, word in enumerate(words) if word == "replicate-job"]
        ends = (place for place, word in enumerate(words) if place > ours and word in {"|", ">"})
        command, *rest = words[ours + 1 : next(ends, len(words))]
        assert command == name
        found = cli.get_command(click.Context(cli), command)
        assert found
        found.make_context(command, rest)  # raises for a word that the command does not know


def test_the_first_help_names_commands_that_there_are() -> None:
    assert {shlex.split(line)[1] for line in examples("")} - {"COMMAND"} <= set(COMMANDS)
