"""``replicate-job train``: start a training, with the guarantees of a job."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import click
import msgspec

from replicate_job.cli.completion import models
from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.given import Given, check_pairs, read_input, resolve_within, with_inputs
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, inputs, waiting
from replicate_job.cli.output import conclude, print_carried, print_json, print_response
from replicate_job.flow.cancel import run_or_cancel
from replicate_job.flow.job_run import Ask, new_key
from replicate_job.flow.prepare import check_job, resolve_and_check
from replicate_job.job import Job


@click.command(
    "train",
    epilog=examples(
        "replicate-job train ostris/flux-dev-lora-trainer acme/fox input_images=@foxes.zip trigger_word=FOX",
        "replicate-job train stability-ai/sdxl acme/fox --input input.json --key fox-1 --no-wait",
    ),
)
@click.argument("model", shell_complete=models)
@click.argument("destination")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@inputs
@click.option("--wait/--no-wait", "wait_for_completion", default=True, help="Whether to wait for the end; default yes.")
@waiting
@click.option("--key", metavar="KEY", help="The training's name: the same key never starts a second training.")
@click.option("--allow-unknown", is_flag=True, help="Send inputs that the model's schema lacks.")
@click.option("--dry-run", is_flag=True, help="Check the model and the input, and create nothing.")
@click.option("--webhook", metavar="URL", help="The API posts the training to this URL.")
@common
def command(
    shared: Common, model: str, destination: str, pairs: tuple[str, ...], file: str | None, **given: Any
) -> Coroutine[Any, Any, int]:
    """Train MODEL (owner/name for its latest version, or owner/name:version). The new version goes to DESTINATION, the
    owner/name of a model of yours.

    A training is created once, waited for and journaled like a job: show, wait and cancel take its ID or key, and
    resume finishes it. KEY=VALUE is an input, as for run.
    """  # noqa: D205 - the first paragraph is the help's
    key, timeout, dry_run = given.pop("key"), given.pop("timeout"), given.pop("dry_run")
    job = Job(model, destination=destination, **given)
    check_pairs(pairs, model=model)
    given_input = Given(read_input(file) if file is not None else {}, pairs)
    check_job(job)
    ask = Ask(job, new_key() if key is None else key, timeout=timeout, called=shared.called, is_new=key is None)
    return _train(shared, ask, given_input, dry_run=dry_run)


async def _train(shared: Common, ask: Ask, given: Given, *, dry_run: bool) -> int:
    with print_carried():
        async with shared.session() as context:
            resolved = await resolve_within(context, ask)
            job = with_inputs(context, ask.job, given, resolved)
            if dry_run:
                await resolve_and_check(context, job)
                request = {"model": str(resolved.target), "request": f"POST /v1{resolved.path}"}
                checked = resolved.schema is not None
                print_json(request | {"destination": job.destination, "input": job.input_data, "checked": checked})
                return SUCCEEDED
            ask = msgspec.structs.replace(ask, job=job)
            result = await run_or_cancel(context, ask, leave=lambda: shared.terminated.came)
    print_response(result)
    return conclude(result, job, line=shared.line, quiet=shared.quiet)
