"""``replicate-job run``: a job file or a model, to its end."""

from __future__ import annotations

import os.path
import sys
from collections.abc import Coroutine
from pathlib import Path, PurePath
from typing import Any

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.options import Common, common, folder, local, saving, waiting
from replicate_job.cli.output import Text, conclude, print_carried, print_json, report
from replicate_job.errors import InputError, JobError
from replicate_job.flow.cancel import run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.prepare import check_job, resolve_and_check
from replicate_job.flow.resolve import Resolved, resolve
from replicate_job.flow.run import LONGEST_HOLD, Ask, new_key
from replicate_job.inputs.pairs import parse_pairs
from replicate_job.inputs.upload import check_files
from replicate_job.job import Job
from replicate_job.settings import check_environment
from replicate_job.wire.target import parse_target

WATCHED_HOLD = 2
"""Seconds to hold a create open where somebody watches: after them there is a status and a bar to show."""


class _Options(msgspec.Struct, frozen=True):
    """The options of ``run`` that are not the job's own."""

    save: str | None
    key: str | None
    stream: bool
    dry_run: bool


@click.command("run")
@click.argument("target")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--input", "file", metavar="FILE", help="A JSON object of inputs, - for stdin; KEY=VALUE wins.")
@click.option("--wait/--no-wait", "wait_for_completion", default=None, help="Whether to wait for the end; default yes.")
@waiting
@click.option("--cancel-after", metavar="TIME", help="Cancel if it takes longer: 30s, 5m, 1h30m.")
@saving("outputs")
@click.option("--stream", is_flag=True, help="Print the output's text as it comes.")
@click.option("--key", metavar="KEY", help="The job's name: the same key never creates a second prediction.")
@click.option("--allow-unknown", is_flag=True, default=None, help="Send inputs that the model's schema lacks.")
@click.option("--dry-run", is_flag=True, help="Resolve and check, create nothing.")
@click.option("--webhook", metavar="URL", help="Have the API post the prediction there.")
@local
@common
def command(
    shared: Common, target: str, pairs: tuple[str, ...], file: str | None, **given: Any
) -> Coroutine[Any, Any, int]:
    """Run TARGET: a job file (.xs, .toml, .json), or a model (owner/name, owner/name:version, a version id,
    deployments/owner/name).

    KEY=VALUE is an input, with the type that the model gives it; KEY=@path sends a file.
    """  # noqa: D205 - the first paragraph is the help's
    overrides = {name: value for name in Job.__struct_fields__ if (value := given.get(name)) is not None}
    job = msgspec.structs.replace(read_job(target), **overrides)
    if shared.local and not job.wait_for_completion:
        raise click.UsageError("a local run ends with its command: --local needs --wait")
    check_pairs(pairs, model=job.model)
    if file is not None:
        job = msgspec.structs.replace(job, input_data=job.input_data | read_input(file))
    check_job(job)
    check_environment(job.env, shared.settings)
    place = folder(given["save"], no_save=given["no_save"])
    return _run(shared, job, pairs, _Options(place, given["key"], given["stream"], given["dry_run"]))


def read_job(target: str) -> Job:
    """Read a job file, or make a job of a model's name. Raises JobError for what is neither."""
    if PurePath(target).suffix:
        from replicate_job.jobfile import SUFFIXES, load_job  # noqa: PLC0415 - the readers are for job files only

        if target.lower().endswith(SUFFIXES) or os.path.isfile(target):  # noqa: PTH113 - says no where Path raises
            return load_job(target)
    try:
        parse_target(target)
    except JobError as error:
        from replicate_job.jobfile import SUFFIXES  # noqa: PLC0415 - see above

        raise JobError(f"{error}; a job file ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}") from None
    return Job(target)


def check_pairs(pairs: tuple[str, ...], *, model: str) -> None:
    """Look for what is wrong with the words whatever the model's schema says: their form, and files.

    Raises JobError with every problem. One by one, as only the schema says whether an input may be given twice.
    """
    problems: list[str] = []
    for pair in pairs:
        try:
            check_files(parse_pairs([pair]), model=model)
        except InputError as error:
            problems += error.problems
        except JobError as error:
            problems.append(str(error))
    if problems:
        raise JobError("; ".join(problems))


def read_input(name: str) -> dict[str, Any]:
    """Read a JSON object from a file, or from stdin for ``-``. Raises JobError."""
    try:
        text = sys.stdin.buffer.read() if name == "-" else Path(name).expanduser().read_bytes()
        found = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise JobError(f"--input {name}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JobError(f"--input {name}: not JSON: {error}") from None
    except RecursionError:
        raise JobError(f"--input {name}: its objects and lists are nested too deep") from None
    if not isinstance(found, dict):
        raise JobError(f"--input {name}: a JSON object of inputs is needed, this is {type(found).__name__}")
    return found


async def _run(shared: Common, job: Job, pairs: tuple[str, ...], options: _Options) -> int:
    text = Text() if options.stream else None
    with print_carried(text):
        async with shared.session(model=job.model, still=options.stream) as context:
            job, resolved = await _with_inputs(context, job, pairs)
            if options.dry_run:
                return await _dry_run(context, job, resolved)
            ask = Ask(
                job,
                new_key() if options.key is None else options.key,
                options.save,
                emit=text.emit if text else None,
                hold=WATCHED_HOLD if sys.stderr.isatty() and not shared.quiet else LONGEST_HOLD,
                resolved=resolved,
            )
            result = await run_or_cancel(context, ask, leave=lambda: shared.terminated.came)
    report(result, text)
    return conclude(result, job, line=None if context.forgetful else shared.line)


async def _with_inputs(context: Context, job: Job, pairs: tuple[str, ...]) -> tuple[Job, Resolved | None]:
    """The job with the words of the command line; these get their types from the schema, so it is looked up first."""
    if not pairs:
        return job, None
    resolved = await resolve(context, parse_target(job.model))
    given = parse_pairs(pairs, resolved.schema)
    return msgspec.structs.replace(job, input_data=job.input_data | given), resolved


async def _dry_run(context: Context, job: Job, resolved: Resolved | None) -> int:
    resolved = await resolve_and_check(context, job, resolved)
    print_json(
        {
            "model": str(resolved.target),
            "request": f"POST /v1{resolved.path}",
            "version": resolved.version or None,
            "input": job.input_data,
            "checked": resolved.schema is not None,
        }
    )
    return SUCCEEDED
