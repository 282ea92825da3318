"""The timeout of a call: at its deadline the call comes back, and the job stays as it is.

The work is cancelled then, as by SIGTERM. So it leaves on the same paths, and the same key goes on with the job.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from replicate_job.clock import Clock
from replicate_job.errors import JobError, JobTimeoutError, JournalError
from replicate_job.flow.collect import lacks_files, result_of
from replicate_job.flow.context import Context, Reporter
from replicate_job.flow.job_run import Ask
from replicate_job.job import Result
from replicate_job.journal.entry import Entry
from replicate_job.quantity import duration
from replicate_job.wire.prediction import Prediction

AGAIN = 10.0
"""Seconds between two looks at the clock: it goes on while the machine sleeps, and the event loop's does not."""


class ExpiredError(Exception):
    """The deadline has come. It is no TimeoutError: the work may raise one of those itself."""


@asynccontextmanager
async def deadline(clock: Clock, until: float) -> AsyncIterator[None]:
    """Cancel the block once the clock's ``now`` reaches ``until``, and raise ExpiredError after its clean-up.

    A cancellation from outside stays one.
    """
    if until == math.inf:
        yield
        return
    if clock.now() >= until:
        raise ExpiredError
    limit = asyncio.timeout(None)

    async def expire() -> None:
        while (left := until - clock.now()) > 0:
            await clock.sleep(min(left, AGAIN))
        limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with limit:
            timer = asyncio.create_task(expire())
            try:
                yield
            finally:
                timer.cancel()
    except TimeoutError:
        if limit.expired():
            raise ExpiredError from None
        raise


async def run_within(context: Context, ask: Ask, work: Callable[[Context, Ask], Awaitable[Result]]) -> Result:
    """Do the work within the ask's timeout. It gets the context and the ask to use.

    Raises JobTimeoutError with what is known of the job; JobError for a timeout that is no time.
    """
    assert ask.timeout is not None  # noqa: S101 - without one there is nothing to bound
    check_timeout(ask.timeout)
    if ask.called is None:
        ask = msgspec.structs.replace(ask, called=context.clock.now())
    seen = _LastSeen(context.reporter)
    try:
        async with deadline(context.clock, ask.deadline):
            return await work(msgspec.structs.replace(context, reporter=seen), ask)
    except ExpiredError:
        try:
            entry = await _entry(context, ask)
        except JournalError as fault:
            raise timed_out(context, ask, seen=seen.prediction, fault=fault) from None
    if entry and entry.prediction and entry.step == "done" and not entry.problem and not lacks_files(entry, ask.save):
        return result_of(entry.prediction, entry, entry.files)  # the last fact was written at that moment
    raise timed_out(context, ask, entry, seen.prediction)


def check_timeout(seconds: float) -> None:
    """Raise JobError unless it is a number of seconds above 0."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not seconds > 0 or math.isnan(seconds):
        raise JobError(f"timeout is {seconds!r}: give a number of seconds above 0, or None for no limit")


class _LastSeen:
    """A reporter that keeps the last prediction that it passes on: the journal has none of the polls."""

    def __init__(self, reporter: Reporter) -> None:
        self.error, self.warn, self.tell, self.note = reporter.error, reporter.warn, reporter.tell, reporter.note
        self._observed = reporter.observed
        self.prediction: Prediction | None = None

    def observed(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self._observed(prediction)


async def _entry(context: Context, ask: Ask) -> Entry | None:
    """The job as the journal has it; None also for another job's key, where the call was over before that was seen."""
    entry = await context.journal.get(ask.key)
    return entry if entry and entry.api == context.api and context.journal.is_same(entry, ask.job) else None


def timed_out(
    context: Context,
    ask: Ask,
    entry: Entry | None = None,
    seen: Prediction | None = None,
    fault: JournalError | None = None,
) -> JobTimeoutError:
    """The error for a call that is over. ``seen`` is the prediction as the call saw it last.

    ``fault`` is why the journal's ``entry`` is not known.
    """
    prediction = _newest(entry, seen)
    if prediction:
        is_known = entry is not None and entry.prediction_id is not None
        told = _describe(context, ask, prediction) if is_known else _describe_unwritten(context, ask, prediction)
    else:
        told = _describe_none(context, ask, entry, fault)
        prediction = Prediction("", "starting", model=ask.job.model)
    result = result_of(prediction, entry, entry.files if entry else ())
    return JobTimeoutError(told, msgspec.structs.replace(result, key=ask.key))


def _newest(entry: Entry | None, seen: Prediction | None) -> Prediction | None:
    """The prediction as last seen, by the journal or by this call; None where none is known."""
    if entry is None or entry.prediction_id is None:
        return seen
    if entry.prediction and entry.prediction.is_terminal:
        return entry.prediction
    if seen and seen.id == entry.prediction_id:
        return seen.with_logs(entry.prediction.logs if entry.prediction else None)
    return entry.prediction or Prediction(entry.prediction_id, "starting")


def _describe(context: Context, ask: Ask, prediction: Prediction) -> str:
    """What the call leaves behind, and what goes on with it."""
    spent, name = duration(ask.timeout or 0), f"{ask.job.kind} {prediction.id}"
    if context.ephemeral:
        again = context.line("resume", "--timeout", growing_timeout(ask.timeout or 0))
        ends = f"{name} is {prediction.status} after {spent}, and ends with the local server"
        return f"{ends}: {again} runs it again, with more time"
    if prediction.is_terminal:
        return f"{name} {prediction.status}, and its outputs are not all kept after {spent}: {_goes_on(context, ask)}"
    waits, ends = context.line("wait", prediction.id), context.line("cancel", prediction.id)
    return (
        f"{name} is still {prediction.status} after {spent} and is left running: "
        f"{waits}, or the same key ({ask.key!r}), goes on, {ends} ends it"
    )


def _describe_unwritten(context: Context, ask: Ask, prediction: Prediction) -> str:
    """What goes on with a prediction that the journal was not told of, or cannot be asked about."""
    spent, name = duration(ask.timeout or 0), f"{ask.job.kind} {prediction.id}"
    again = context.line("wait", prediction.id, "--key", ask.key)
    return f"{name} is {prediction.status} after {spent}, and the journal may lack it: {again} goes on"


def _describe_none(context: Context, ask: Ask, entry: Entry | None, fault: JournalError | None) -> str:
    spent = duration(ask.timeout or 0)
    nothing = f"nothing was created within {spent}, and nothing is paid"
    if fault or (entry and entry.step != "prepare"):
        why = f" ({fault})" if fault else ""
        unknown = f"it is not known after {spent} whether a prediction was created{why}"
        return f"{unknown}: {_goes_on(context, ask)}, and pays once"
    if entry is None:
        return f"{nothing}: it was not begun, so run it again"
    return f"{nothing}: {_goes_on(context, ask)}"


def _goes_on(context: Context, ask: Ask) -> str:
    return f"{context.line('resume')}, or the same key ({ask.key!r}), goes on"


def growing_timeout(seconds: float) -> str:
    """A timeout that gives more time than ``seconds`` did: twice as much, and ten minutes at least."""
    return f"{max(10, math.ceil(2 * seconds / 60))}m"
