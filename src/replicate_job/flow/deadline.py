"""The timeout of a call: at the deadline the call returns, and the job is left as it is.

The work is cancelled and cleans up in the same way as after SIGTERM. A later call with the same key continues the job.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from replicate_job.clock import Clock
from replicate_job.errors import JobTimeoutError, JournalError
from replicate_job.flow.collect import lacks_files, result_of
from replicate_job.flow.context import Context, Reporter
from replicate_job.flow.job_run import Ask
from replicate_job.job import Result
from replicate_job.journal.entry import Entry
from replicate_job.quantity import duration
from replicate_job.wire.prediction import Prediction

AGAIN = 10.0
"""Seconds between two readings of the clock. The clock continues while the machine sleeps, but the event loop's timers
do not. So one long timer would end too late."""


class ExpiredError(Exception):
    """The deadline has passed. This is not a TimeoutError, because the work itself may raise a TimeoutError."""


@asynccontextmanager
async def deadline(clock: Clock, until: float) -> AsyncIterator[None]:
    """Cancel the block once the clock's ``now`` reaches ``until``. After the block's clean-up, raise ExpiredError.

    A cancellation from outside still raises CancelledError.
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
    """Run ``work`` within the ask's timeout.

    ``work`` gets copies of the context and of the ask. The copied context keeps the last known state of the job, and
    the copied ask has the deadline. Raises JobTimeoutError with the last known state of the job.
    """
    assert ask.timeout is not None  # noqa: S101 - for the type checker: callers pass an ask with a timeout
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
        return result_of(entry.prediction, entry, entry.files)  # the job finished just before the deadline
    raise timed_out(context, ask, entry, seen.prediction)


class _LastSeen:
    """A reporter that passes all calls on to another reporter.

    It remembers the last prediction, since the journal does not record polls.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.error, self.warn, self.tell, self.note = reporter.error, reporter.warn, reporter.tell, reporter.note
        self._observed = reporter.observed
        self.prediction: Prediction | None = None

    def observed(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self._observed(prediction)


async def _entry(context: Context, ask: Ask) -> Entry | None:
    """The journal's entry of this job. None if the key belongs to another job.

    The key may belong to another job if the call ended before it could check the key.
    """
    entry = await context.journal.get(ask.key)
    return entry if entry and entry.api == context.api and context.journal.is_same(entry, ask.job) else None


def timed_out(
    context: Context,
    ask: Ask,
    entry: Entry | None = None,
    seen: Prediction | None = None,
    fault: JournalError | None = None,
) -> JobTimeoutError:
    """Make the error for a call whose time is over. ``seen`` is the last prediction that the call observed.

    ``fault`` is the error because of which the journal's ``entry`` could not be read.
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
    """The latest known state of the prediction, from the journal or from this call. None if no prediction is known."""
    if entry is None or entry.prediction_id is None:
        return seen
    if entry.prediction and entry.prediction.is_terminal:
        return entry.prediction
    if seen and seen.id == entry.prediction_id:
        return seen.with_logs(entry.prediction.logs if entry.prediction else None)
    return entry.prediction or Prediction(entry.prediction_id, "starting")


def _describe(context: Context, ask: Ask, prediction: Prediction) -> str:
    """Describe the state in which the call leaves the prediction, and the command that continues it."""
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
    """Describe a prediction that may be missing in the journal, and the command that continues it."""
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
    """Suggest a longer timeout for a hint: twice ``seconds``, and at least ten minutes."""
    return f"{max(10, math.ceil(2 * seconds / 60))}m"
