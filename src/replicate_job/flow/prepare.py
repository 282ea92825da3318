"""Makes a job's request: resolves the model, checks the input before anything is paid for, and uploads files."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.decoding import convert
from replicate_job.errors import InputError, JobError, NoAnswerError
from replicate_job.flow.context import Context
from replicate_job.flow.reads import read
from replicate_job.flow.resolved import Resolved
from replicate_job.inputs.content import Content, carried, contents, fill
from replicate_job.inputs.flaws import flaws
from replicate_job.inputs.upload import FileInfo, check_files, has_files, send_files
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.quantity import is_count, is_seconds, shown
from replicate_job.wire.duration import parse_cancel_after
from replicate_job.wire.prediction import parse_time
from replicate_job.wire.target import Target, parse_target


def check_job(job: Job) -> Target:
    """Check the parts of the job that can be checked without a request. Raises JobError."""
    if isinstance(job.webhook, str) and not job.webhook.startswith(("http://", "https://")):
        raise JobError(f"webhook is {job.webhook!r}: it must be a URL like https://example.com/hook")
    _check_waiting(job)
    try:
        convert(msgspec.structs.asdict(job), Job)
        if job.cancel_after is not None:
            parse_cancel_after(job.cancel_after)
    except msgspec.ValidationError as error:
        raise JobError(f"the job is wrong: {error}") from None
    except ValueError as error:
        raise JobError(f"cancel_after: {error}") from None
    if problems := flaws(job.input_data):
        raise InputError(job.model, problems)
    if problems := flaws({"model": job.model, "webhook": job.webhook, "title": job.title, "env": job.env}):
        raise JobError(f"the job is wrong: {problems[0]}")
    target = parse_target(job.model)
    if job.destination:
        _check_training(job, target, job.destination)
    check_files(job.input_data, model=job.model)
    return target


def _check_waiting(job: Job) -> None:
    """Check the job's numbers, which a Job does not check.

    For example, msgspec accepts a Decimal in place of a float, and the journal would store the Decimal as text.
    """
    if job.poll_interval is not None and not is_seconds(job.poll_interval):
        raise JobError(f"poll_interval is {shown(job.poll_interval)}: give a number of seconds above 0")
    if job.max_poll_attempts is not None and not is_count(job.max_poll_attempts):
        raise JobError(f"max_poll_attempts is {shown(job.max_poll_attempts)}: give a whole number from 1")
    if not is_seconds(float(job.interval or 1) * (job.max_poll_attempts or 1)):
        raise JobError(f"poll_interval is {job.poll_interval:g}: with max_poll_attempts it is no number of seconds")


def _check_training(job: Job, target: Target, destination: str) -> None:
    if parse_target(destination).kind != "model":
        raise JobError(f"destination: {destination!r} does not name a model: write owner/name")
    if target.kind == "deployment" or not target.slug:
        raise JobError(f"{job.model!r} cannot be trained: write owner/name, or owner/name:version (64 hex digits)")
    if job.cancel_after is not None:
        raise JobError("cancel_after: the API takes none for a training")


async def resolve_and_check(context: Context, job: Job) -> Resolved:
    """Resolve the job's model and check its input. Nothing is uploaded or created.

    Raises InputError, which lists every problem.
    """
    resolved = await resolve_job(context, job)
    if resolved.schema is None:
        context.reporter.note(f"the API shows no schema for {job.model}: its input is not checked")
    problems = resolved.checker.check(job.input_data, allow_unknown=job.allow_unknown)
    if problems:
        raise InputError(job.model, problems)
    return resolved


async def resolve_job(context: Context, job: Job) -> Resolved:
    """Find out how to create the job's prediction. Raises JobError for a training of a model that shows no version."""
    resolved = await context.strategy.resolve(context, parse_target(job.model))
    return resolved.for_training() if job.destination else resolved


ReadContent = Callable[[Content], Coroutine[Any, Any, bytes | None]]
"""Returns the bytes of a file whose ``Content`` does not have them; None if the bytes are lost."""


async def _lost(content: Content) -> None:
    """Return None: the journal stores no files."""


async def prepare(context: Context, job: Job, resolved: Resolved, read_content: ReadContent = _lost) -> CreateRequest:
    """Upload the input's files and write the create request. Raises InputError for files that cannot be sent."""
    sent, uploads = job.input_data, _Uploads(context, read_content)
    if has_files(sent):
        sent = await send_files(sent, uploads, model=job.model, now=context.clock.time)
    return write_request(job, resolved, sent, uploads.used)


def prepare_known(context: Context, job: Job) -> CreateRequest | None:
    """The create request of a job that can be sent immediately.

    The model of such a job is cached, and its input is valid and has no files.

    None for any other job: that job is claimed first, so that it is in the journal while it is prepared or refused.
    """
    resolved = None if has_files(job.input_data) else context.strategy.recall(context, parse_target(job.model))
    if resolved is None or resolved.checker.check(job.input_data, allow_unknown=job.allow_unknown):
        return None
    return write_request(job, resolved, job.input_data)


async def prepare_contents(context: Context, job: Job, key: str, save: str | None) -> CreateRequest | None:
    """The create request of a new job with files whose bytes are only in this process.

    The claim records the request with the job, so that any process can send the job. The files are not stored
    elsewhere. None for any other job, and for a job that is in the journal already.
    """
    if not any(contents(job.input_data)):
        return None
    entry = await context.journal.get(key)
    if entry and entry.state != "refused":
        return None
    if save:
        await context.strategy.check_place(context, save)
    with context.telemetry.step("prepare"):
        return await prepare(context, job, await resolve_and_check(context, job))


def restore_contents(job: Job, asked: Job, request: CreateRequest | None) -> Job:
    """The journal's ``job``, with the bytes of its files.

    The bytes come from the caller's job ``asked``, or from an earlier create request.
    """
    if all(content.data is not None for content in contents(job.input_data)):
        return job
    known = [*contents(asked.input_data), *carried(request.input if request else {})]
    data = {content.sha256: content.data for content in known if content.data is not None}
    return msgspec.structs.replace(job, input_data=fill(job.input_data, data))


def write_request(
    job: Job, resolved: Resolved, sent: dict[str, Any], files: dict[str, str] | None = None
) -> CreateRequest:
    """Write the create request.

    ``sent`` is the job's input with a URL in place of each file. ``files`` maps the URLs of uploads to their SHA-256.
    """
    body: dict[str, Any] = {"input": sent}
    optional = {
        "version": resolved.version,
        "destination": job.destination,
        "webhook": job.webhook,
        "webhook_events_filter": job.webhook_events_filter,
    }
    body |= {name: value for name, value in optional.items() if value}
    return CreateRequest(
        target=resolved.target,
        path=resolved.path,
        body=msgspec.json.encode(body),
        cancel_after=job.cancel_after,
        secrets=tuple(name for name in resolved.secrets if name in sent),
        files=files or {},
        hardware=resolved.hardware,
    )


class _Uploads:
    """Uploads files, or finds earlier uploads in the journal. ``used`` maps the URL of each file to its SHA-256."""

    def __init__(self, context: Context, read_content: ReadContent) -> None:
        self._context, self._read_content = context, read_content
        self.used: dict[str, str] = {}

    def one_at_a_time(self, sha256: str) -> AbstractAsyncContextManager[object]:
        return self._context.upload_locks.of(sha256)

    async def find(self, sha256: str) -> FileInfo | None:
        if self._context.ephemeral:
            return None
        if found := await self._context.journal.find_upload(self._context.api, sha256):
            self.used[found.url] = sha256
        return found

    async def upload(self, source: Path | bytes, name: str, media_type: str, sha256: str) -> FileInfo:
        self._context.reporter.note(f"uploading {name}")
        with self._context.telemetry.step("upload"):
            send = partial(self._context.client.upload_file, source, name=name, media_type=media_type)
            sent = await read(self._context, send)  # the same content may be uploaded twice, which costs nothing
        if not (address := sent.urls.get("get")):
            raise NoAnswerError(f"the API took {name} and does not say where it is: give a URL to it instead")
        expires = parse_time(sent.expires_at)
        info = FileInfo(address, expires.timestamp() if expires else None)
        self.used[address] = sha256
        if not self._context.ephemeral:
            await self._context.journal.remember_upload(self._context.api, sha256, info)
        return info

    async def read(self, content: Content) -> bytes | None:
        return await self._read_content(content)
