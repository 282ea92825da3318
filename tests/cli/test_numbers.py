"""A huge number on the command line causes a one-line error that names its option."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from replicate_job.cli.main import cli

HUGE = (
    "9" * 19,
    "9" * 60,
    "9" * 60 + "s",
    "9" * 60 + "w",
    "9" * 60 + "g",
    "9" * 5000,
    "9" * 5000 + "g",
    "-" + "9" * 60,
)


def options(group: click.Command, name: str = "") -> Iterator[tuple[str, click.Option]]:
    context = click.Context(group)
    if isinstance(group, click.Group):
        for each in group.list_commands(context):
            command = group.get_command(context, each)
            assert command
            yield from options(command, f"{name} {each}".strip())
    else:
        for parameter in group.params:
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                yield f"{name} {parameter.opts[0]}", parameter


@pytest.mark.parametrize("option", [pytest.param(option, id=name) for name, option in options(cli)])
def test_no_option_accepts_an_integer_that_a_database_cannot_hold(option: click.Option) -> None:
    for text in HUGE:
        try:
            value = option.type.convert(text, option, None)
        except click.UsageError:
            continue
        assert not isinstance(value, int) or 0 <= value < 2**63
