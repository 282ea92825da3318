"""Creates the prediction of one job, without waiting for its end."""

from __future__ import annotations

from replicate_job.aio import unless
from replicate_job.batches.row_policy import Model
from replicate_job.fleet.parts import Fleet
from replicate_job.flow.claim import take
from replicate_job.flow.job_run import Ask, JobRun
from replicate_job.flow.prepare import prepare, write_request
from replicate_job.flow.steps import STEPS
from replicate_job.flow.subject import SUBJECT
from replicate_job.inputs.content import Content
from replicate_job.inputs.upload import has_files
from replicate_job.job import Job, Result
from replicate_job.journal.entry import CreateRequest, Entry
from replicate_job.outputs.depot import Depot


class DrainingError(Exception):
    """The job was not started, because the process is about to end."""


async def bring(fleet: Fleet, model: Model, ask: Ask, entry: Entry | None, depot: str | None) -> Result | None:
    """Create the job's prediction.

    If the answer to the create request has the prediction's end, and there are no files to keep, returns the result.
    Otherwise returns None.

    ``entry`` is the job in the journal, None for a new job. ``depot`` is the place of the rows' input files, None
    without input files. Raises DrainingError, ClaimLostError if another process holds the claim, and the errors of the
    create request.
    """
    context, job = model.context, ask.job
    SUBJECT.set(ask)  # not reset, since this task works for this job only
    if fleet.draining.is_set():
        raise DrainingError
    request = slot = None
    if entry is None or entry.state == "refused":
        # The claim records the intent too. After the intent no wait is allowed, so the rate-limit slot is taken first.
        request = await _request(fleet, model, job, depot)
        slot = await unless(fleet.draining, context.client.take_slot())
        if slot is None:
            raise DrainingError
    claim = await take(context, ask.key, job, ask.save, within=None, request=request, chain_step=ask.chain_step)
    run = JobRun(context, claim, ask, slot)
    SUBJECT.set(run)
    try:
        while run.result is None and run.step in {"prepare", "look up"}:
            await STEPS[run.step](run)
    finally:
        await run.leave()
    if run.fault:
        raise run.fault
    return run.result


async def _request(fleet: Fleet, model: Model, job: Job, depot: str | None) -> CreateRequest:
    """The job's create request. Uploads the job's files to the API, which keeps uploads for at least a day."""
    if not has_files(job.input_data):
        return write_request(job, model.resolved, job.input_data)
    opened = Depot(depot, model.context.stores) if depot else None

    async def read(content: Content) -> bytes | None:
        return await opened.get(content) if opened else None

    async with fleet.sending:
        return await prepare(model.context, job, model.resolved, read)
