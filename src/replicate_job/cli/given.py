"""A job's input and options, read from the words of a command line."""

from __future__ import annotations

import os.path
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click
import msgspec

from replicate_job.cli.options import Common
from replicate_job.cli.streams import is_shown, is_watched
from replicate_job.errors import InputError, JobError
from replicate_job.flow.context import Context
from replicate_job.flow.deadline import ExpiredError, deadline, timed_out
from replicate_job.flow.follow import Emit
from replicate_job.flow.job_run import LONGEST_BLOCKING_WAIT, WATCHED_BLOCKING_WAIT, Ask, new_key
from replicate_job.flow.prepare import resolve_job
from replicate_job.flow.resolved import Resolved
from replicate_job.folders import expand
from replicate_job.inputs.at_path import AtPaths, Reading, existing_file, has_at
from replicate_job.inputs.pairs import parse_pairs, split_pair
from replicate_job.inputs.upload import check_files
from replicate_job.job import Job
from replicate_job.wire.bounds import LARGEST, ROW_HEAVIEST, is_heavy
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from replicate_job.chain import Chain


class Given(msgspec.Struct, frozen=True):
    """Inputs from the command line: the object of ``--input``, and the ``KEY=VALUE`` words."""

    values: dict[str, Any]
    pairs: tuple[str, ...]

    @property
    def needs_schema(self) -> bool:
        return bool(self.pairs) or any(map(has_at, self.values.values()))


class Options(msgspec.Struct, frozen=True):
    """The options of ``run`` that are not fields of the job."""

    save: str | None
    key: str | None
    stream: bool
    dry_run: bool
    output_only: bool
    timeout: float | None
    retry_failed: bool

    def ask(self, shared: Common, job: Job, *, kind: str = "job", emit: Emit | None = None) -> Ask:
        """Combine the job and the options into the ``Ask`` that ``run_job`` takes.

        A key that is made here begins with ``kind``. ``emit`` is called with each piece of streamed text.
        """
        return Ask(
            job,
            new_key(kind) if self.key is None else self.key,
            self.save,
            emit=emit,
            blocking_wait=WATCHED_BLOCKING_WAIT if is_watched() and not shared.quiet else LONGEST_BLOCKING_WAIT,
            timeout=self.timeout,
            called=shared.called,
            is_new=self.key is None,
        )


def refuse_overrides(overrides: dict[str, Any]) -> None:
    """Raise UsageError if an option would override a field of a chain's jobs, which the chain's steps set themselves.

    ``overrides`` maps the names of a job's fields to the options' values.
    """
    if name := next(iter(overrides), ""):
        option = "--no-wait" if name == "wait_for_completion" else f"--{name.replace('_', '-')}"
        raise click.UsageError(
            f"{option} is for a job: each step of a chain sets its own cancel_after and allow_unknown"
        )


def read_target(target: str) -> Job | Chain:
    """Read a job file or a chain, or make a job from a model's name. Raises JobError for anything else."""
    if PurePath(target).suffix:
        from replicate_job.jobfile import SUFFIXES, load  # noqa: PLC0415 - only job files need the readers

        if target.lower().endswith(SUFFIXES) or os.path.isfile(target):  # noqa: PTH113 - Path.is_file raises for some names, os.path.isfile does not
            return load(target)
    try:
        parse_target(target)
    except JobError as error:
        from replicate_job.jobfile import SUFFIXES  # noqa: PLC0415 - see above

        raise JobError(f"{error}; a job file ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}") from None
    return Job(target)


def check_pairs(pairs: tuple[str, ...], *, model: str) -> None:
    """Check the form of the words and the size of their files, before the model's schema is known.

    Raises JobError with every problem.
    """
    problems: list[str] = []
    for pair in pairs:
        try:
            name, text = split_pair(pair)
            if text.startswith("@") and (path := existing_file(text[1:])):
                check_files({name: path}, model=model)
        except InputError as error:
            problems += error.problems
        except JobError as error:
            problems.append(str(error))
    if problems:
        raise JobError("; ".join(problems))


def read_input(name: str) -> dict[str, Any]:
    """Read a JSON object from a file, or from stdin if ``name`` is ``-``. Raises JobError."""
    try:
        if name == "-":
            text = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with expand(name).open("rb") as opened:
                text = opened.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise JobError(f"--input {name}: larger than {LARGEST // 1024**2} MB; give files as @path or URLs")
        if is_heavy(text, ROW_HEAVIEST):
            most = ROW_HEAVIEST // 1024**2
            raise JobError(
                f"--input {name}: its values take more than {most} MB of memory; give files as @path or URLs"
            )
        found = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise JobError(f"--input {name}: {error.strerror}") from None
    except RecursionError:
        raise JobError(f"--input {name}: the JSON is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JobError(f"--input {name}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise JobError(f"--input {name}: a JSON object of inputs is needed, this is {type(found).__name__}")
    return found


async def resolve_within(context: Context, ask: Ask) -> Resolved:
    """Resolve the job's model within the timeout. The model's schema has the types of the KEY=VALUE words."""
    try:
        async with deadline(context.clock, ask.deadline):
            return await resolve_job(context, ask.job)
    except ExpiredError:
        raise timed_out(context, ask) from None


def with_inputs(context: Context, job: Job, given: Given, resolved: Resolved | None) -> Job:
    """Add the inputs of the command line to the job, converted to the types of the model's schema.

    ``resolved`` is the resolved model; None if no input needs its schema.
    """
    schema = resolved.schema if resolved else None

    def observe(reading: Reading) -> None:
        if reading.kind in {"text", "typed"}:
            context.reporter.tell(str(reading))

    values = given.values | parse_pairs(given.pairs, schema)
    return msgspec.structs.replace(job, input_data=job.input_data | AtPaths(schema, observe=observe).read(values))


def shown_input(job: Job) -> dict[str, Any]:
    if not is_shown():
        return job.input_data
    from replicate_job.cli.brief import short_input  # noqa: PLC0415 - only for a terminal

    return short_input(job.input_data, {})
