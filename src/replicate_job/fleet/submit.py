"""Submits a batch to the journal. Every row is checked, and the batch is written completely or not at all."""

from __future__ import annotations

from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.batches.chains.plan import ChainPlan
from replicate_job.batches.open_runner import open_runner
from replicate_job.batches.progress import Tally
from replicate_job.batches.row_job import RowJob
from replicate_job.batches.runner import BatchRunner, RowSource, Start
from replicate_job.batches.spec import Batch
from replicate_job.chain import Ref
from replicate_job.decoding import decode
from replicate_job.errors import InputError, JobError
from replicate_job.fleet.budget import open_limit
from replicate_job.fleet.input_files import InputFiles
from replicate_job.fleet.plan import FleetPlan, plan_of
from replicate_job.fleet.reach import warn_of_folder
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.inputs.secrets import hide
from replicate_job.inputs.upload import has_files
from replicate_job.journal.entry import BatchEntry, encode_job
from replicate_job.journal.postgres_budget import AccountChangedError
from replicate_job.journal.postgres_fleet import FleetTables
from replicate_job.journal.postgres_queue import CHUNK, FEW
from replicate_job.journal.postgres_submission import BatchFacts, Combination, NewRow
from replicate_job.outputs.place import check_place, root_of


async def submit(  # noqa: PLR0913 - the batch, and the places that it is written to
    context: Context,
    tables: FleetTables,
    batch: Batch,
    model: Resolved | ChainPlan,
    rows: RowSource,
    *,
    rate: float | None,
) -> int:
    """Write the batch and its tasks, and return its number in the journal. No prediction is created here.

    ``rate`` is the highest rate of create requests a second. An invalid row is written with its problem. Local files of
    rows are copied to a place where workers can read them: see ``input_files``. Raises JobError if such files have no
    place, and the errors of a batch that all its rows share.
    """
    with context.telemetry.submit(batch.job.model, batch.id):
        if batch.save:
            await check_place(batch.save, context.stores)
        before = await context.journal.api_of(f"{batch.id}/")
        if before not in {None, context.api}:
            raise JobError(f"the batch {batch.id} belongs to {before}, not {context.api}: choose another key")
        files = InputFiles(context, tables, batch.save)
        runner = open_runner(context, batch, model, Tally())
        await runner.open_policy()
        plan = _plan(batch, model, runner, await _models_before(context, tables, batch))
        resolved = model if isinstance(model, Resolved) else model.resolved
        if batch.save and any(each.makes_files for each in (resolved, *plan.models.values())):
            await warn_of_folder(context, tables, root_of(batch.save), "outputs are kept in")
        chunks = aclosing(runner.starts(rows, is_new=before is None, prepare=partial(_take_files, files)))
        async with tables.submission(FEW if plan.goes_on else CHUNK) as submission, chunks as opened:
            async for starts in opened:
                sent = (each for each in starts if not each.problem and not each.reused)
                await files.copy(each.item.job.input_data for each in sent if plan.goes_on or each.is_unsent)
                first = submission.rows + 1
                await submission.add([_new(number, each, batch, plan) for number, each in enumerate(starts, first)])
            if not submission.rows:
                raise JobError("there are no rows: nothing was submitted")
            facts = BatchFacts(
                BatchEntry(batch.id, context.api, batch.source, batch.command, 0),
                job=encode_job(batch.job),
                save=batch.save,
                rate=rate,
                secrets=resolved.secrets,
                model=msgspec.json.encode(resolved),
                depot=files.address,
                trace=context.telemetry.trace(),
                plan=b"" if plan == FleetPlan() else msgspec.json.encode(plan),
            )
            while True:
                limit = await open_limit(context, tables, batch, runner)
                with suppress(AccountChangedError):
                    number = await submission.finish(facts, limit.account if limit else None)
                    if limit:
                        context.reporter.tell(limit.state(runner, submission.rows))
                    return number


async def _take_files(files: InputFiles, item: RowJob) -> RowJob:
    """The row with its files as ``Content`` that workers can read. If a file cannot be sent, the row has a problem."""
    if item.problem or not has_files(item.job.input_data):
        return item
    try:
        taken = await files.take(item.job, item.line)
    except InputError as error:
        return msgspec.structs.replace(item, problem=str(error))
    return msgspec.structs.replace(item, job=msgspec.structs.replace(item.job, input_data=taken))


async def _models_before(context: Context, tables: FleetTables, batch: Batch) -> dict[str, Resolved]:
    """The models of an earlier submission, by name. The new plan has them too: their predictions may still run."""
    found = await tables.find(batch.id, context.api)
    if found is None:
        return {}
    plan = plan_of(found)
    return (
        plan.models
        if plan.steps
        else {found.job.model: decode(await tables.model(found.number), Resolved)} | plan.models
    )


def _plan(batch: Batch, model: Resolved | ChainPlan, runner: BatchRunner, before: dict[str, Resolved]) -> FleetPlan:
    prices = runner.prices if batch.max_cost is not None or batch.prices else {}
    if isinstance(model, Resolved):
        models = {name: other for name, other in before.items() if name != batch.job.model} | runner.models
        return FleetPlan(models, runner.policy, batch.dedupe, max_cost=batch.max_cost, prices=prices)
    steps = tuple(
        msgspec.structs.replace(step, input=_templates(step.input), for_each=_templates(step.for_each))
        for step in model.chain.steps
    )
    return FleetPlan(
        before | model.by_model,
        steps=steps,
        title=model.chain.title,
        max_cost=batch.max_cost,
        prices=prices,
        retry_failed=batch.retry_failed,
        retry_uncertain=batch.retry_uncertain,
    )


def _templates(value: Any) -> Any:
    """A step's input as JSON values. Each ``Ref`` becomes the text ``{name}``. Raises JobError for a local file."""
    match value:
        case Ref():
            return f"{{{value.name}}}"
        case dict():
            return {name: _templates(item) for name, item in value.items()}
        case list() | tuple():
            return [_templates(item) for item in value]
        case Path():
            raise JobError(f"{value} is a file of this machine, which other machines lack: give its URL in the step")
    return value


def _new(number: int, start: Start, batch: Batch, plan: FleetPlan) -> NewRow:
    """The row in the form that is written. Secrets of a row that is never sent are left out."""
    item, job = start.item, start.item.job
    if start.problem and item.secrets:
        job = msgspec.structs.replace(job, input_data=hide(job.input_data, item.secrets))
    return NewRow(
        number if batch.grid else item.line,
        start.key,
        encode_job(job),
        start.problem,
        combination=Combination(item.line, item.grid) if batch.grid else None,
        name=item.name if plan.goes_on else "",
        reused=start.reused,
        is_open=plan.goes_on and not start.problem,
    )
