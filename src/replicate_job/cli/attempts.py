"""The options for retries, fallbacks and reuse, which ``run`` and ``batch`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from replicate_job.cli.age import Age
from replicate_job.cli.completion import targets
from replicate_job.job import Fallback, Job
from replicate_job.quantity import MOST

if TYPE_CHECKING:
    from replicate_job.flow.plan import Plan

_F = TypeVar("_F", bound=Callable[..., Any])


def attempts(function: _F) -> _F:
    """Add the options ``retries``, ``retry_on``, ``fallback_models`` and ``reuse``, which ``take_plan`` reads."""
    for option in (
        click.option(
            "--reuse",
            type=Age(),
            metavar="AGE",
            help="Reuse a succeeded prediction of the same version and input, at most this old: 30d, 12h.",
        ),
        click.option(
            "--fallback",
            "fallback_models",
            multiple=True,
            metavar="MODEL",
            shell_complete=targets,
            help="Run this model once the attempts of the one before have failed; may be repeated.",
        ),
        click.option(
            "--retry-on",
            metavar="REASONS",
            help="Retry only for these reasons: failed,interrupted,empty; default all three.",
        ),
        click.option(
            "--retries",
            type=click.IntRange(0, MOST),
            default=0,
            metavar="N",
            help="Attempts after a failure; default 0.",
        ),
    ):
        function = option(function)
    return function


def take_plan(job: Job, given: dict[str, Any]) -> tuple[Job, Plan | None]:
    """Remove the options of ``attempts`` from ``given``; return the job with its fallback models, and its plan.

    The plan is None if the options ask for no retries, fallbacks or reuse. Raises UsageError for ``retry_on`` without
    ``retries``, and JobError for options that do not suit the job.
    """
    retries, reasons, models = given.pop("retries"), given.pop("retry_on"), given.pop("fallback_models")
    reuse = given.pop("reuse")
    if models:
        job = msgspec.structs.replace(job, fallback=tuple(map(Fallback, models)))
    if reasons is not None and not retries:
        raise click.UsageError("--retry-on needs --retries")
    if not (retries or reuse is not None or job.fallback):
        return job, None
    from replicate_job.flow.plan import make_plan  # noqa: PLC0415 - only a job with a plan needs it

    return job, make_plan(job, retries=retries, retry_on=reasons, reuse=reuse)
