"""``replicate-job run``: run a job file or a model to its end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from replicate_job.cli.attempts import attempts, take_plan
from replicate_job.cli.completion import targets
from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.given import (
    Given,
    Options,
    check_pairs,
    read_input,
    read_target,
    refuse_overrides,
    resolve_within,
    shown_input,
    with_inputs,
)
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, fetching, inputs, local, output_only, place, saving, waiting
from replicate_job.cli.output import Shown, Text, conclude, print_carried, print_json
from replicate_job.decoding import convert
from replicate_job.flow.cancel import run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.deadline import ExpiredError, deadline
from replicate_job.flow.job_run import Ask, check_key
from replicate_job.flow.prepare import check_job, resolve_and_check
from replicate_job.flow.resolve import find_schema
from replicate_job.job import EVENTS, Job, Result
from replicate_job.settings import check_environment

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from replicate_job.chain import Chain
    from replicate_job.flow.plan import Plan


class _Events(click.ParamType[tuple[str, ...]]):
    """The type of options for the events of a webhook, separated by commas."""

    name = "events"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        events = tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
        if wrong := [event for event in events if event not in EVENTS]:
            self.fail(f"{wrong[0]!r} is not an event: there are {', '.join(EVENTS)}", param, ctx)
        if not events:
            self.fail(f"name one or more of {', '.join(EVENTS)}", param, ctx)
        return tuple(dict.fromkeys(events))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's signature
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

        before, comma, begun = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{event}") for event in EVENTS if event.startswith(begun)]


@click.command(
    "run",
    epilog=examples(
        "replicate-job run run.xs --local",
        'replicate-job run black-forest-labs/flux-schnell prompt="a fox" seed=7',
        "replicate-job run stability-ai/sdxl prompt=@prompt.txt image=@sketch.png",
        'replicate-job run meta/meta-llama-3-8b-instruct prompt="Hi" --stream',
        "replicate-job run deployments/acme/flux --input input.json --key order-17",
        'replicate-job run poster.toml prompt="a lake" --key poster-1',
        "replicate-job run openai/whisper audio=@talk.mp3 --output-only > talk.json",
    ),
)
@click.argument("target", shell_complete=targets)
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@inputs
@click.option("--wait/--no-wait", "wait_for_completion", default=None, help="Whether to wait for the end; default yes.")
@waiting
@click.option("--cancel-after", metavar="TIME", help="Cancel the prediction if it takes longer: 30s, 5m, 1h30m.")
@saving("outputs")
@click.option("--stream", is_flag=True, help="Print the output's text as it comes.")
@output_only
@attempts
@click.option("--key", metavar="KEY", help="The job's name: the same key never creates a second prediction.")
@click.option("--retry-failed", is_flag=True, help="Make a new prediction for each failed step of a chain.")
@click.option("--allow-unknown", is_flag=True, default=None, help="Send inputs that the model's schema lacks.")
@click.option("--dry-run", is_flag=True, help="Check the model and the input, and create nothing.")
@click.option("--webhook", metavar="URL", help="The API posts the prediction to this URL.")
@click.option(
    "--webhook-events",
    "webhook_events_filter",
    type=_Events(),
    metavar="EVENTS",
    help=f"The events to post at: {','.join(EVENTS)}; default those of the API.",
)
@fetching
@local
@common
def command(
    shared: Common, target: str, pairs: tuple[str, ...], file: str | None, **given: Any
) -> Coroutine[Any, Any, int]:
    """Run TARGET: a job file (.xs, .toml, .json), a chain of steps (.toml, .json), or a model (owner/name,
    owner/name:version, a version id, deployments/owner/name).

    KEY=VALUE is an input, with the type that the model gives it. KEY=@path sends that file, or its text where the input
    takes text; KEY=@@text is text that starts with @.
    """  # noqa: D205 - the first paragraph is the help's
    overrides = {name: value for name in Job.__struct_fields__ if (value := given.get(name)) is not None}
    if given["key"] is not None:
        check_key(given["key"])
    found = read_target(target)
    if not isinstance(found, Job):
        return _start_chain(shared, found, overrides, Given({} if file is None else read_input(file), pairs), given)
    if given["retry_failed"]:
        raise click.UsageError("--retry-failed is for a chain: a job that failed runs again with another --key")
    job = msgspec.structs.replace(found, **overrides)
    if given["webhook_events_filter"] and not job.webhook:
        raise click.UsageError("--webhook-events needs --webhook, or a job file with a webhook")
    if shared.local and not job.wait_for_completion:
        raise click.UsageError("a local run ends with its command: --local needs --wait")
    check_pairs(pairs, model=job.model)
    given_input = read_input(file) if file is not None else {}
    check_job(msgspec.structs.replace(job, input_data=job.input_data | given_input))
    check_environment(job.env, shared.settings)
    kept_in = place(given["save"], no_save=given["no_save"])
    job, plan = take_plan(job, given)
    options = convert(given | {"save": kept_in}, Options)
    if plan and options.stream:
        raise click.UsageError("--stream shows one prediction: it takes no --retries, --fallback or --reuse")
    if options.output_only and not job.wait_for_completion:
        raise click.UsageError("--output-only needs --wait: without it there is no output yet")
    return _run(shared, job, Given(given_input, pairs), options, plan)


def _start_chain(
    shared: Common, chain: Chain, overrides: dict[str, Any], given_input: Given, given: dict[str, Any]
) -> Coroutine[Any, Any, int]:
    from replicate_job.cli.run_chain import start  # noqa: PLC0415 - for chains only

    refuse_overrides(overrides)
    if given["stream"]:
        raise click.UsageError("--stream is for one job: a chain gets the text of a step at the step's end")
    kept_in = place(given["save"], no_save=given["no_save"])
    return start(shared, chain, given_input, convert(given | {"save": kept_in}, Options))


async def _run(shared: Common, job: Job, given: Given, options: Options, plan: Plan | None) -> int:
    shown = Shown(Text() if options.stream else None, options.output_only)
    with print_carried(shown):
        async with shared.session(model="" if options.dry_run else job.model, still=options.stream) as context:
            ask = options.ask(shared, job, emit=shown.text.emit if shown.text else None)
            resolved = await resolve_within(context, ask) if given.needs_schema or options.dry_run else None
            job = with_inputs(context, job, given, resolved)
            if options.dry_run:
                return await _dry_run(context, job, options.save)
            ask = msgspec.structs.replace(ask, job=job)
            result = await _result(context, ask, plan, leave=lambda: shared.terminated.came)
            schema = resolved.schema if resolved else None
            if shown.lacks_schema(result):
                with suppress(ExpiredError):  # without the schema the result is printed too
                    async with deadline(context.clock, ask.deadline):
                        schema = schema or await find_schema(context, job.model)
            shown = msgspec.structs.replace(shown, schema=schema)
    shown.report(result)
    ends = context.ephemeral
    quiet, saves = shared.quiet, bool(options.save)
    return conclude(result, job, line=shared.line, ephemeral=ends, quiet=quiet, saves=saves, key=options.key)


async def _result(context: Context, ask: Ask, plan: Plan | None, leave: Callable[[], bool]) -> Result:
    run = partial(run_or_cancel, context, leave=leave)
    if plan is None:
        return await run(ask)
    from replicate_job.flow.plan import run_plan  # noqa: PLC0415 - only a job with a plan needs it

    return await run_plan(context, ask, plan, run)


async def _dry_run(context: Context, job: Job, save: str | None) -> int:
    if save:
        await context.strategy.check_place(context, save)
    resolved = await resolve_and_check(context, job)
    if job.fallback:
        from replicate_job.flow.plan import check_fallbacks  # noqa: PLC0415 - only a job with a plan needs it

        await check_fallbacks(context, job)
    print_json(
        {
            "model": str(resolved.target),
            "request": f"POST /v1{resolved.path}",
            "version": resolved.version or None,
            "input": shown_input(job),
            "checked": resolved.schema is not None,
        }
    )
    return SUCCEEDED
