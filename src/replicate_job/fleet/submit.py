"""A batch into the journal: every row checked, and all of it or nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from replicate_job.batches.attempts import attempt_key, attempt_of, has_failed, latest
from replicate_job.batches.reader import read_ahead
from replicate_job.batches.row_job import Names, RowJob, RowJobs, another_input
from replicate_job.batches.runner import NO_TRAINING, RowSource, size_of
from replicate_job.batches.spec import Batch
from replicate_job.errors import InputError, JobError
from replicate_job.fleet.input_files import InputFiles
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.inputs.secrets import hide
from replicate_job.inputs.upload import has_files
from replicate_job.journal.entry import BatchEntry, Entry, encode_job
from replicate_job.journal.postgres_fleet import FleetTables
from replicate_job.journal.postgres_submission import BatchFacts, NewRow
from replicate_job.outputs.place import check_place


async def submit(  # noqa: PLR0913 - what is submitted, and where
    context: Context,
    tables: FleetTables,
    batch: Batch,
    resolved: Resolved,
    rows: RowSource,
    *,
    rate: float | None,
) -> int:
    """Write the batch and its tasks, and return its number in the journal. Nothing is created here.

    ``rate`` is the most create requests a second. A row that does not fit is written with its problem. Local files of
    rows are copied to where workers read them: see ``input_files``. Raises JobError for such files without a place, and
    what a batch raises for all rows alike.
    """
    with context.telemetry.submit(batch.job.model, batch.id):
        return await _submit(context, tables, batch, resolved, rows, rate=rate)


async def _submit(  # noqa: PLR0913 - as above
    context: Context, tables: FleetTables, batch: Batch, resolved: Resolved, rows: RowSource, *, rate: float | None
) -> int:
    if batch.job.destination:
        raise JobError(NO_TRAINING)
    if batch.plan or batch.dedupe:
        raise JobError("retries, fallback, dedupe and reuse are not for batches of a fleet: leave them out")
    if batch.save:
        await check_place(batch.save, context.stores)
    before = await context.journal.api_of(f"{batch.id}/")
    if before not in {None, context.api}:
        raise JobError(f"the batch {batch.id} belongs to {before}, not {context.api}: choose another key")
    job = msgspec.structs.replace(batch.job, wait_for_completion=True, poll_interval=None, max_poll_attempts=None)
    files = InputFiles(context, tables, batch.save)
    jobs, names = RowJobs(job, resolved, batch.read, batch.id_column), Names()
    async with tables.submission() as submission:
        async for part in _read(jobs, batch.limit, rows, files):
            wanted = {item.name for item, _ in part if item.name}
            known = await latest(context, batch.id, wanted) if before else {}
            new: list[NewRow] = []
            unsent: list[dict[str, Any]] = []
            for item, problem in part:
                entry = known.get(item.name)
                key, found = ("", problem) if problem else _key(context, batch, item, entry, names)
                new.append(_new(item, key, found, resolved.secrets))
                if not found and (entry is None or key != entry.key or entry.prediction_id is None):
                    unsent.append(item.job.input_data)
            await files.copy(unsent)
            await submission.add(new)
        if not submission.rows:
            raise JobError("there are no rows: nothing was submitted")
        return await submission.finish(
            BatchFacts(
                BatchEntry(batch.id, context.api, batch.source, batch.command, 0),
                job=encode_job(job),
                save=batch.save,
                rate=rate,
                secrets=resolved.secrets,
                model=msgspec.json.encode(resolved),
                depot=files.address,
                trace=context.telemetry.trace(),
            )
        )


async def _read(
    jobs: RowJobs, limit: int | None, rows: RowSource, files: InputFiles
) -> AsyncGenerator[list[tuple[RowJob, str]], None]:
    """Rows as jobs, each with what is wrong with it, as they come."""
    number = 0
    async with aclosing(read_ahead(rows, size_of)) as chunks:
        async for chunk in chunks:
            some = chunk[: None if limit is None else limit - number]
            number += len(some)
            yield [await _check(jobs, jobs.make(row), files) for row in some]
            if number == limit:
                break


async def _check(jobs: RowJobs, item: RowJob, files: InputFiles) -> tuple[RowJob, str]:
    problem = jobs.check(item)
    if not item.problem and has_files(item.job.input_data):
        return await _take_files(files, item, problem)
    return item, problem


async def _take_files(files: InputFiles, item: RowJob, problem: str) -> tuple[RowJob, str]:
    """The row with its files as workers read them, and what is wrong with it."""
    try:
        taken = await files.take(item.job, item.line)
    except InputError as error:
        return item, problem or str(error)
    return msgspec.structs.replace(item, job=msgspec.structs.replace(item.job, input_data=taken)), problem


def _key(context: Context, batch: Batch, item: RowJob, entry: Entry | None, names: Names) -> tuple[str, str]:
    """The key of the row's job, and why there is none."""
    is_other = entry is not None and not context.journal.is_same(entry, item.job)
    if is_other or (batch.id_column and names.has_same(item) is False):  # without one, a name has the line in it
        return "", another_input(item.name)
    if entry and _is_retried(batch, entry):
        return attempt_key(batch.id, item.name, attempt_of(batch.id, entry) + 1), ""
    return entry.key if entry else attempt_key(batch.id, item.name), ""


def _new(item: RowJob, key: str, problem: str, secrets: tuple[str, ...]) -> NewRow:
    """The row as it is written. One that is never sent keeps no secrets."""
    job = item.job
    if problem and secrets:
        job = msgspec.structs.replace(job, input_data=hide(job.input_data, secrets))
    return NewRow(item.line, key, encode_job(job), problem)


def _is_retried(batch: Batch, entry: Entry) -> bool:
    wanted = batch.retry_uncertain if entry.state == "uncertain" else batch.retry_failed
    return wanted and (entry.state == "uncertain" or has_failed(entry))
