"""The options for further attempts, which ``run`` and ``batch`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from replicate_job.cli.age import Age
from replicate_job.cli.completion import targets
from replicate_job.job import Fallback, Job

if TYPE_CHECKING:
    from replicate_job.flow.plan import Plan

_F = TypeVar("_F", bound=Callable[..., Any])


def attempts(function: _F) -> _F:
    """``retries``, ``retry_on``, ``fallback_models`` and ``reuse``, which ``take_plan`` reads."""
    for option in (
        click.option(
            "--reuse", type=Age(), metavar="AGE", help="Take a success of the same version and input: 30d, 12h."
        ),
        click.option(
            "--fallback",
            "fallback_models",
            multiple=True,
            metavar="MODEL",
            shell_complete=targets,
            help="Give it to this model once the first has given up; more than one in their order.",
        ),
        click.option(
            "--retry-on",
            metavar="REASONS",
            help="Try again only after these: failed,interrupted,empty; default all three.",
        ),
        click.option(
            "--retries", type=click.IntRange(0), default=0, metavar="N", help="Attempts after a failure; default 0."
        ),
    ):
        function = option(function)
    return function


def take_plan(job: Job, given: dict[str, Any]) -> tuple[Job, Plan | None]:
    """The job with its fallbacks, and its plan, if it has one. Takes the options out of ``given``. Raises JobError."""
    retries, reasons, models = given.pop("retries"), given.pop("retry_on"), given.pop("fallback_models")
    reuse = given.pop("reuse")
    if models:
        job = msgspec.structs.replace(job, fallback=tuple(map(Fallback, models)))
    if reasons is not None and not retries:
        raise click.UsageError("--retry-on needs --retries")
    if not (retries or reuse is not None or job.fallback):
        return job, None
    from replicate_job.flow.plan import make_plan  # noqa: PLC0415 - only those who have one pay for it

    return job, make_plan(job, retries=retries, retry_on=reasons, reuse=reuse)
