"""The state of a job while this process runs it: the journal's entry, and data that only this process has."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from replicate_job.api.ratelimit import Slot
from replicate_job.errors import ClaimLostError, JobError, JournalError, ReplicateJobError
from replicate_job.flow.claim import release
from replicate_job.flow.context import Context
from replicate_job.flow.create import Created
from replicate_job.flow.follow import Emit
from replicate_job.flow.lifecycle import Step
from replicate_job.flow.resolved import Resolved
from replicate_job.flow.schema_cache import load_schema
from replicate_job.flow.subject import Facts, Known
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Claim
from replicate_job.outputs.promise import broken_promise
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target

LONGEST_BLOCKING_WAIT = 60
"""The longest blocking wait of the API, in seconds (``Prefer: wait=60``)."""
WATCHED_BLOCKING_WAIT = 2
"""Seconds of blocking wait if progress is displayed. After that, polls update the status and the progress bar."""


def new_key(kind: str = "job") -> str:
    return f"{kind}-{os.urandom(8).hex()}"


def check_key(key: str) -> None:
    """Raise JobError for an empty key."""
    if not key.strip():
        raise JobError("the key is empty: name the job, or give no key")


class Ask(msgspec.Struct, frozen=True):
    """A job, and how to run it.

    ``save`` is the place for outputs (see ``outputs.place``), None to save no outputs. ``emit`` is called with the
    output text as it comes. ``blocking_wait`` is the longest blocking wait of the create request, in seconds: a shorter
    wait shows progress sooner, and the end later. ``timeout`` limits the call in seconds; None for no limit. It counts
    from ``called``, the clock's ``now`` at the call, or from the start of ``run_job`` if ``called`` is None.
    ``is_checked``: ``check_job`` has passed the job already. ``is_new``: the key was made for this call, so no other
    process uses it. ``chain_step`` is the name of the job's step in a chain. ``ended`` is called with the ended
    prediction, before its outputs are kept.
    """

    job: Job
    key: str = msgspec.field(default_factory=new_key)
    save: str | None = None
    emit: Emit | None = None
    blocking_wait: int = LONGEST_BLOCKING_WAIT
    timeout: float | None = None
    called: float | None = None
    is_checked: bool = False
    is_new: bool = False
    chain_step: str | None = None
    ended: Callable[[Prediction], None] | None = None

    def facts(self) -> Facts:
        return Known(key=self.key, model=self.job.model).facts()

    @property
    def budget(self) -> float | None:
        """Seconds from the create request to the end of waiting, None for no limit. A ``timeout`` replaces it."""
        return self.job.budget if self.timeout is None else None

    @property
    def deadline(self) -> float:
        """The clock's ``now`` at which the timeout is over; infinite without a timeout."""
        return math.inf if self.timeout is None or self.called is None else self.called + self.timeout


class JobRun:
    """One claim on a job, and the job's progress under this claim.

    ``entry`` is the journal's row with all updates of this process. ``resolved`` is the resolved model and
    ``schema`` is its schema; each is None if not known. ``created`` is the outcome of a create request or a look-up,
    until the prediction has ended. ``slot`` is the rate-limit slot if the claim has recorded the intent, otherwise
    None. ``fault`` is the error of the write that failed, if the latest changes are not in the journal. ``unwritten``
    is a prediction that the journal lacks; ``leave`` writes it. ``result`` is set after the job's last step.
    """

    def __init__(self, context: Context, claim: Claim, ask: Ask, slot: Slot | None = None) -> None:
        self.context, self.claim, self.ask = context, claim, ask
        self.slot = slot if claim.intends else None
        self.entry = claim.entry
        request = self.entry.request
        self.resolved: Resolved | None = context.strategy.known(request) if request else None
        self.schema: dict[str, Any] | None = self.resolved.schema if self.resolved else None
        self.created: Created | None = None
        self.fault: JournalError | None = None
        self.unwritten: Prediction | None = None
        self.result: Result | None = None

    def facts(self) -> Facts:
        prediction = self.created.id if self.created else self.entry.prediction_id or ""
        batch = self.context.strategy.batch or ""
        return Known(key=self.ask.key, prediction=prediction, model=self.ask.job.model, batch=batch).facts()

    @property
    def step(self) -> Step:
        if self.created:
            return "wait"
        is_new = self.claim.intends and self.entry.prediction_id is None
        return "prepare" if is_new else self.entry.step

    @property
    def has_claim(self) -> bool:
        """Whether ``leave`` has to release the claim. A successful write of ``collected`` has released it already."""
        return self.entry.state != "collected" or self.fault is not None

    @property
    def blocking_wait(self) -> int:
        """Seconds of blocking wait; 0 for a stream, for a training, or if the call does not wait for the end."""
        if self.ask.emit or self.ask.job.destination or not self.ask.job.wait_for_completion:
            return 0
        budget = self.ask.budget
        longest = min(self.ask.blocking_wait, LONGEST_BLOCKING_WAIT)
        return longest if budget is None else int(min(longest, budget))

    def advance(self, **facts: Any) -> None:
        """Update these fields of the entry."""
        self.entry = msgspec.structs.replace(self.entry, **facts)

    async def write(self, fact: Awaitable[None]) -> None:
        """Await a write of a prediction's state into the journal. If the write fails, keep the error for ``finish``.

        Each write includes the earlier states, so the next successful write makes up for failed writes.
        """
        try:
            await fact
        except ClaimLostError:
            raise
        except JournalError as error:
            self.fault = self.fault or error
        else:
            self.fault = self.unwritten = None

    def note_unwritten(self, prediction: Prediction | None) -> None:
        self.unwritten = prediction

    async def leave(self) -> None:
        """Release the claim. Write a prediction that the journal lacks, or the next run would have to look for it."""
        if self.has_claim:
            await release(self.context, self.claim, self.unwritten)

    def finish(self) -> Result:
        """Return the result. If a write to the journal failed, raise the JournalError, which has the result."""
        assert self.result  # noqa: S101 - for the type checker: every last step sets it
        if self.fault:
            self.fault.result = self.result
            raise self.fault
        return self.result

    async def find_schema(self, prediction: Prediction) -> dict[str, Any] | None:
        """The model's schema, which tells files from text. For a resumed job, the model is resolved again."""
        self.schema = self.schema or self.stored_schema(prediction)
        if self.schema is None and self.resolved is None:
            # Resolve the target of the request: the model's name may mean a newer version by now.
            request = self.entry.request
            target = request.target if request else parse_target(self.entry.job.model)
            try:
                self.schema = (await self.context.strategy.resolve(self.context, target)).schema
            except ReplicateJobError as error:
                self.context.reporter.warn(f"{error}; files are told from text by their addresses alone")
        return self.schema

    def stored_schema(self, prediction: Prediction) -> dict[str, Any] | None:
        """The schema of the prediction's version from the cache; None if it is not cached."""
        request = self.entry.request
        version = (request.version if request else "") or prediction.version
        return load_schema(self.context, version) if version else None

    def keeps(self, prediction: Prediction) -> bool:
        """Whether this prediction has outputs to save."""
        is_training = bool(self.entry.job.destination)  # its weights stay at the API: a download needs the token
        return self.ask.save is not None and not is_training and self.context.strategy.keeps(self.context, prediction)

    def find_problem(self, prediction: Prediction) -> str:
        """Describe an output that the schema promises but the prediction lacks; empty if no output is missing."""
        if prediction.status != "succeeded" or prediction.data_removed or self.entry.job.destination:
            return ""
        if self.resolved and not self.resolved.makes_files:
            return ""
        is_known = self.schema or self.resolved
        return broken_promise(prediction.output, self.schema if is_known else self.stored_schema(prediction))

    def is_all(self, prediction: Prediction) -> bool:
        """Whether there is nothing left to wait for, to show or to keep."""
        is_over = prediction.is_terminal and not prediction.data_removed
        return is_over and self.ask.emit is None and not self.keeps(prediction) and not self.find_problem(prediction)
