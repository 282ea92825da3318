"""The help texts of the commands."""

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
def test_each_commands_examples_are_valid_command_lines(
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
        found.make_context(command, rest)  # raises for an option that the command lacks


def test_the_examples_of_the_main_help_name_existing_commands() -> None:
    assert {shlex.split(line)[1] for line in examples("")} - {"COMMAND"} <= set(COMMANDS)
