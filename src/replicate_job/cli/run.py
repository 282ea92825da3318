"""``replicate-job run``: a job file or a model, to its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from replicate_job.cli.exits import SUCCEEDED, status_code
from replicate_job.cli.options import Common, Terminated, common, folder, local, run_async, saving, waiting
from replicate_job.cli.output import print_json, print_response
from replicate_job.cli.streams import tell, write
from replicate_job.errors import JobError, JournalError, OutputError
from replicate_job.flow.cancel import run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.prepare import resolve_and_check
from replicate_job.flow.resolve import Resolved, resolve
from replicate_job.flow.run import LONGEST_HOLD, Ask, new_key
from replicate_job.inputs.upload import check_files
from replicate_job.job import Job, Result
from replicate_job.settings import check_environment
from replicate_job.wire.target import parse_target

WATCHED_HOLD = 2
"""Seconds to hold a create open where somebody watches: after them there is a status and a bar to show."""
FILES = (".xs", ".toml", ".json")


class _Options(msgspec.Struct, frozen=True):
    """The options of ``run`` that are not the job's own."""

    common: Common
    pairs: tuple[str, ...]
    given: dict[str, Any]
    save: str | None
    key: str | None
    stream: bool
    dry_run: bool


@click.command("run")
@click.argument("target")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--input", "input_file", metavar="FILE|-", help="A JSON object of inputs; KEY=VALUE wins.")
@click.option("--wait/--no-wait", "wait_for_completion", default=None, help="Whether to wait for the end; default yes.")
@waiting
@click.option("--cancel-after", metavar="TIME", help="Cancel if it takes longer: 30s, 5m, 1h30m.")
@saving
@click.option("--stream", is_flag=True, help="Print the output's text as it comes.")
@click.option("--key", help="The job's name: the same key never creates a second prediction.")
@click.option("--allow-unknown", is_flag=True, default=None, help="Send inputs that the model's schema lacks.")
@click.option("--dry-run", is_flag=True, help="Resolve and check, create nothing.")
@click.option("--webhook", metavar="URL", help="Have the API post the prediction there.")
@local
@common
def command(target: str, pairs: tuple[str, ...], input_file: str | None, **options: Any) -> int:
    """Run TARGET: a job file (.xs, .toml, .json), or a model (owner/name, owner/name:version, a version id,
    deployments/owner/name).

    KEY=VALUE is an input, with the type that the model gives it; KEY=@path sends a file.
    """  # noqa: D205 - the first paragraph is the help's
    shared = Common(**{name: options.pop(name) for name in Common.__struct_fields__})
    overrides = {name: value for name in Job.__struct_fields__ if (value := options.get(name)) is not None}
    job = msgspec.structs.replace(read_job(target), **overrides)
    check_environment(job.env, shared.settings)
    chosen = _Options(
        common=shared,
        pairs=pairs,
        given=read_input(input_file) if input_file else {},
        save=folder(options["save"], no_save=options["no_save"]),
        key=options["key"],
        stream=options["stream"],
        dry_run=options["dry_run"],
    )
    return run_async(lambda terminated: _run(job, chosen, terminated))


def read_job(target: str) -> Job:
    """Read a job file, or make a job of a model's name."""
    if not target.lower().endswith(FILES):
        return Job(target)
    from replicate_job.jobfile import load_job  # noqa: PLC0415 - the parsers are for job files only

    return load_job(target)


def read_input(name: str) -> dict[str, Any]:
    """Read a JSON object from a file, or from stdin for ``-``. Raises JobError."""
    try:
        text = sys.stdin.buffer.read() if name == "-" else Path(name).expanduser().read_bytes()
        found = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise JobError(f"--input {name}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JobError(f"--input {name}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise JobError(f"--input {name}: a JSON object of inputs is needed, this is {type(found).__name__}")
    return found


async def _run(job: Job, options: _Options, terminated: Terminated) -> int:
    async with options.common.session(model=job.model, still=options.stream) as context:
        job, resolved = await _with_inputs(context, job, options)
        if options.dry_run:
            return await _dry_run(context, job, resolved)
        text = _Text() if options.stream else None
        ask = Ask(
            job,
            options.key or new_key(),
            options.save,
            emit=text.emit if text else None,
            hold=WATCHED_HOLD if sys.stderr.isatty() and not options.common.quiet else LONGEST_HOLD,
            resolved=resolved,
        )
        try:
            result = await run_or_cancel(context, ask, leave=lambda: terminated.came)
        except (OutputError, JournalError) as error:
            if error.result:
                report(error.result, text)
            raise
    report(result, text)
    return conclude(result, job)


async def _with_inputs(context: Context, job: Job, options: _Options) -> tuple[Job, Resolved | None]:
    """The job with what the command line adds; words get their types from the schema, so that is looked up first."""
    given, resolved = options.given, None
    if options.pairs:
        from replicate_job.inputs.pairs import parse_pairs  # noqa: PLC0415 - only where there are any

        for pair in options.pairs:
            if "=@" in pair and "=@@" not in pair:  # files are looked at before anything is asked of the API
                check_files(parse_pairs([pair]), model=job.model)
        resolved = await resolve(context, parse_target(job.model))
        given = given | parse_pairs(options.pairs, resolved.schema)
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


class _Text:
    """Streamed text on its way to stdout."""

    def __init__(self) -> None:
        self.last = ""

    def emit(self, piece: str) -> None:
        write(piece)
        self.last = piece

    def close(self) -> None:
        """End the last line, so that a prompt does not follow on it."""
        if sys.stdout.isatty() and not self.last.endswith("\n"):
            write("\n")


def report(result: Result, text: _Text | None = None) -> None:
    """Print the response; with ``--stream`` only where there was no text."""
    if text and text.last:
        text.close()
    else:
        print_response(result)


def conclude(result: Result, job: Job) -> int:
    """Say on stderr why a prediction is not a success, and give the exit code."""
    code = status_code(result.status, waited=job.wait_for_completion)
    name = f"prediction {result.prediction_id}"
    match result.status:
        case "succeeded":
            pass
        case "failed":
            tell(f"error: {name} failed: {result.error or 'the API gives no reason'}")
        case "canceled" | "aborted":
            tell(f"{name} was {result.status}")
        case status if job.wait_for_completion:
            tell(
                f"{name} is still {status} after {job.budget:g} s and is left running: `replicate-job wait "
                f"{result.prediction_id}` goes on, `replicate-job cancel {result.prediction_id}` ends it"
            )
    return code
