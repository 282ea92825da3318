"""Retries of a batch's rows, with the batch's own model and with its fallbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from replicate_job.batches.attempts import attempt_key, attempt_of, has_failed
from replicate_job.batches.row_job import RowJob
from replicate_job.batches.strategy import RowStrategy
from replicate_job.errors import InputError, JobError, OutputError
from replicate_job.flow.context import Context
from replicate_job.flow.failure import Failure, why
from replicate_job.flow.plan import describe, fallback_job
from replicate_job.flow.policy import Policy
from replicate_job.flow.resolve import resolve
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Fallback, Job, Result
from replicate_job.journal.entry import Entry
from replicate_job.wire.target import parse_target


class Model(msgspec.Struct, frozen=True):
    """The batch's model or a fallback. ``context`` has the parts that run the model's jobs."""

    context: Context
    resolved: Resolved


async def resolve_fallbacks(own: Context, fallbacks: Iterable[Fallback], strategy: RowStrategy) -> list[Model]:
    """Resolve the fallbacks' models, before anything is paid for. Raises ModelNotFoundError."""
    models: list[Model] = []
    for fallback in fallbacks:
        target = parse_target(fallback.model)
        resolved = await resolve(own, target)
        models.append(Model(msgspec.structs.replace(own, strategy=strategy.beside(target, resolved)), resolved))
    return models


class Attempt(Protocol):
    """Runs one prediction of a row to its end. ``entry`` is None for a new prediction."""

    def __call__(self, item: RowJob, key: str, entry: Entry | None, model: Model) -> Awaitable[Result]: ...


class RowPolicy:
    """Decides whether a row gets another attempt, and with which model.

    ``models`` are the batch's own model, then the models of its ``fallbacks``. ``shares``: rows with the same input
    share jobs. ``earlier`` has the attempts before the last one of each row in the latest list of rows, by the row's
    name.
    """

    def __init__(
        self, batch: str, policy: Policy, models: Sequence[Model], fallbacks: Sequence[Fallback], *, shares: bool
    ) -> None:
        self.policy, self.batch, self.models, self._shares = policy, batch, models, shares
        self.earlier: dict[str, tuple[Entry, ...]] = {}
        self._fallbacks, self._journal = fallbacks, models[0].context.journal

    def jobs(self, item: RowJob) -> list[Job]:
        """The row's job for each model, in the order of ``models``."""
        return [item.job, *(fallback_job(item.job, fallback) for fallback in self._fallbacks)]

    def check(self, item: RowJob) -> str:
        """The reason why the row's input does not fit a fallback, in one line; empty if it fits all fallbacks."""
        try:
            jobs = self.jobs(item)
        except JobError as error:
            return str(error)
        for job, model in zip(jobs[1:], self.models[1:], strict=True):
            if problems := model.resolved.checker.check(job.input_data, allow_unknown=job.allow_unknown):
                return str(InputError(job.model, problems))
        return ""

    def is_same(self, entry: Entry, item: RowJob) -> bool:
        return self.model_of(entry, item) is not None

    def model_of(self, entry: Entry, item: RowJob) -> int | None:
        """The index of the attempt's model; None if ``entry`` is not a job of this row."""
        same = (number for number, job in enumerate(self.jobs(item)) if self._is_same(entry, job))
        return next(same, None)

    def _is_same(self, entry: Entry, job: Job) -> bool:
        if self._journal.is_same(entry, job):
            return True
        return (
            self._shares and entry.job.model == job.model
        )  # equal names mean equal inputs: only the paths of files may differ

    def next_model(self, item: RowJob, entry: Entry) -> int | None:
        """The index of the model for the attempt after this failed attempt; None if there is no further attempt."""
        if not has_failed(entry) or not self.is_same(entry, item):
            return None
        return self.model_after(item, (*self.earlier.get(item.name, ()), entry))

    def model_after(self, item: RowJob, entries: Sequence[Entry], *, is_retried: bool = False) -> int | None:
        """The index of the model for the attempt after ``entries``; None if there is no further attempt.

        ``is_retried``: the user asks for another attempt, so there is always another.
        """
        due = self.policy.next_model(self.tries(item, entries))
        if due is None and is_retried:  # a new round begins with the batch's own model
            last = entries[-1]
            return self.model_of(last, item) or 0 if last.state == "uncertain" else 0
        return due

    def tries(self, item: RowJob, entries: Iterable[Entry]) -> list[tuple[int, Failure]]:
        numbered = ((self.model_of(entry, item) or 0, entry) for entry in entries)
        return [(number, self._why(entry, self.models[number])) for number, entry in numbered]

    @staticmethod
    def _why(entry: Entry, model: Model) -> Failure:
        if not has_failed(entry) or entry.prediction is None:
            return ""
        made = entry.prediction
        return why(made.status, made.error, made.output, model.resolved.schema, is_removed=bool(made.data_removed))

    def attempts(
        self, item: RowJob, entry: Entry | None, earlier: tuple[Entry, ...], *, is_retried: bool
    ) -> RowAttempts:
        """The row's remaining attempts. ``is_retried``: the user asks for another attempt."""
        return RowAttempts(self, item, entry, earlier, is_retried=is_retried)


class RowAttempts:
    def __init__(
        self, rows: RowPolicy, item: RowJob, entry: Entry | None, earlier: tuple[Entry, ...], *, is_retried: bool
    ) -> None:
        self._rows, self._item, self._jobs = rows, item, rows.jobs(item)
        self._number, self._model, self._entry = 1, 0, entry
        self._before = earlier
        if entry is not None:
            self._number, self._model = attempt_of(rows.batch, entry), rows.model_of(entry, item) or 0
        self._tries = rows.tries(item, earlier)
        if entry is None or not (is_retried or has_failed(entry)):
            return
        due = rows.model_after(item, (*earlier, entry), is_retried=is_retried)
        if due is None:
            return
        self._tries, self._before = rows.tries(item, (*earlier, entry)), (*earlier, entry)
        self._number, self._model, self._entry = self._number + 1, due, None

    async def to_end(
        self,
        attempt: Attempt,
        made: list[Result],
        *,
        recall: Callable[[RowJob, Entry], Result],
        spend: Callable[[Result], None],
        pause: Callable[[float], Awaitable[None]],
    ) -> Result:
        """Run the remaining attempts, and return the result of the last. Earlier results are appended to ``made``.

        ``spend`` is called with every result. ``recall`` returns the result of an attempt in the journal. ``pause``
        waits the seconds before another attempt. Errors of ``attempt`` are raised: no attempt follows an unknown
        outcome.
        """
        for before in self._before:
            if before.prediction:
                made.append(recall(self._item, before))
                spend(made[-1])
        while True:
            try:
                result = await self._attempt(attempt)
            except OutputError as error:
                if error.result:
                    spend(error.result)
                raise
            spend(result)
            model = self._rows.models[self._model]
            failure = why(result.status, result.error, result.output, model.resolved.schema)
            self._tries.append((self._model, failure))
            due = self._rows.policy.next_model(self._tries)
            if due is None:
                return result
            model.context.reporter.note(f"line {self._item.line}: {describe(failure, result)}; it is tried again")
            await pause(self._rows.policy.pause(self._tries, due))
            made.append(result)
            self._number, self._model, self._entry = self._number + 1, due, None

    async def _attempt(self, attempt: Attempt) -> Result:
        item = msgspec.structs.replace(self._item, job=self._jobs[self._model])
        key = self._entry.key if self._entry else attempt_key(self._rows.batch, item.name, self._number)
        return await attempt(item, key, self._entry, self._rows.models[self._model])
