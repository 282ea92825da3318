"""The command lines in hints keep the options of the current call that their command takes."""

from __future__ import annotations

import shlex

import click
import pytest

from replicate_job.cli.main import COMMANDS, cli
from replicate_job.cli.options import Common
from replicate_job.cli.signals import Terminated

SHARED = Common(
    journal="my jobs.db", quiet=False, verbose=False, local=True, allow_private_outputs=True, terminated=Terminated()
)
ARGUMENTS = {
    "run": ["a/b"],
    "batch": ["a/b", "rows.csv", "--results", "-"],
    "prune": ["--older-than", "30d"],
    "record": ["a", "b"],
    "replay": ["a"],
    "deployments": ["list"],
    "search": ["a"],
    "trainings": ["list"],
    "train": ["a/b", "c/d"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_hint_is_a_valid_command_line(name: str) -> None:
    words = ARGUMENTS.get(name, ["a"] if name in {"wait", "show", "cancel", "delete", "schema", "results"} else [])
    program, *rest = shlex.split(SHARED.line(name, *words).strip("`"))
    assert (program, rest[0]) == ("replicate-job", name)
    found = cli.get_command(click.Context(cli), name)
    assert found
    found.make_context(name, rest[1:])  # raises for an option that the command lacks
    options = {option.name for option in found.params}
    for option in ("local", "allow-private-outputs", "journal"):
        assert (f"--{option}" in rest) == (option.replace("-", "_") in options)
