"""Creates exactly one prediction for a job.

The intent is recorded before the request is sent. If a create request gets no answer, the account's list is read before
another create request is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import msgspec

from replicate_job.api.failures import backoff, is_ambiguous
from replicate_job.api.ratelimit import Slot
from replicate_job.errors import (
    BatchCanceledError,
    CertificateError,
    ClaimLostError,
    InvalidRequestError,
    JournalError,
    ModelNotFoundError,
    NotFoundError,
    NotSentError,
    RateLimitError,
    ReplicateJobError,
)
from replicate_job.flow.context import Context, moment
from replicate_job.flow.reconcile import be_uncertain, cancel_surplus, reconcile
from replicate_job.journal.entry import UNSENT, Claim, CreateRequest
from replicate_job.wire.prediction import Prediction

ANSWER = 1.0
"""The blocking wait of a create request is cut so that the answer comes this many seconds before the deadline."""
_REFUSED_VERSION = "Invalid version"
"""The beginning of the API's error title if it refuses a version."""


class Created(msgspec.Struct, frozen=True):
    """``prediction`` is the answer to the create request; None if the id was found in the account's list.

    ``sent_at`` is the clock's ``now`` from which the budget counts. ``waited`` is the number of seconds between the
    create request of an earlier process and ``sent_at``. ``age`` is the least age of the prediction in seconds.
    ``fault`` is the JournalError of a failed attempt to record the id. ``collected``: the journal has the job as
    collected.
    """

    id: str
    sent_at: float
    prediction: Prediction | None = None
    waited: float = 0
    age: float = 0
    fault: JournalError | None = None
    collected: bool = False


async def create(  # noqa: PLR0913 - the request, and callbacks for its outcome
    context: Context,
    claim: Claim,
    request: CreateRequest,
    *,
    slot: Slot | None = None,
    blocking_wait: int,
    deadline: float = math.inf,
    tried: tuple[str, ...] = (),
    is_all: Callable[[Prediction], bool] = lambda _: False,
    unwritten: Callable[[Prediction | None], None] = lambda _: None,
) -> Created:
    """Send ``request`` until exactly one prediction is known to exist.

    ``blocking_wait`` is in seconds, 0 for none. It is shortened so that the answer comes before the clock's ``now``
    reaches ``deadline``. ``slot`` is the rate-limit slot if one was taken already. ``tried`` lists the earlier look-ups
    of the model, for the message of a ModelNotFoundError. ``is_all`` returns whether an answer finishes the job. If so,
    the journal records the end together with the id. ``unwritten`` is called with the prediction of an answer before it
    is recorded, and with None once the journal has it. Raises the API's error if the API refused the request (nothing
    was created), UncertainError, or ClaimLostError.
    """
    tries = _Tries(context, claim)
    while True:
        slot = slot or await context.client.take_slot()
        async with context.client.place(blocks=blocking_wait > 0):
            claim = await _intend(context, tries, claim, request)
            sent_at = context.clock.now()
            if claim.entry.prediction_id:
                return Created(claim.entry.prediction_id, sent_at)
            wait = int(min(blocking_wait, max(0, deadline - ANSWER - sent_at)))
            answer = await _send(context, claim, request, slot, wait)
        claim, slot = msgspec.structs.replace(claim, intends=False), None
        broken: ReplicateJobError | None = None
        foreign = ""
        if isinstance(answer, ReplicateJobError):
            if isinstance(answer, NotSentError | RateLimitError):
                await tries.pause(answer)
                continue
            if not is_ambiguous(answer):
                await tries.give_up(_advised(context, answer, request, tried))
            broken = answer
        elif created := await _record(context, claim, answer, sent_at, unwritten, collected=is_all(answer)):
            return tries.end_with(created, blocking=wait > 0)
        else:
            foreign = answer.id
        if found := await _look_for(context, claim, broken):
            return tries.end_with(Created(found, sent_at), blocking=wait > 0)
        await tries.count(broken, foreign)


async def _intend(context: Context, tries: _Tries, claim: Claim, request: CreateRequest) -> Claim:
    """Record the intent, unless the claim has recorded it already.

    There must be no wait between the intent and the request. The wait for a rate-limit slot may have made the claim's
    intent too old. Then the intent is recorded again.
    """
    if claim.intends:
        if _age(context, claim) < UNSENT / 2:
            return claim
        await context.journal.unsent(claim)
    try:
        return await context.journal.intend(claim, request, moment(context))
    except BatchCanceledError as error:
        await tries.give_up(error)


async def _send(
    context: Context, claim: Claim, request: CreateRequest, slot: Slot, blocking_wait: int
) -> Prediction | ReplicateJobError:
    guard = partial(_check_lease, context, claim)
    try:
        return await context.client.create_prediction(
            request.path,
            request.body,
            slot,
            blocking_wait=blocking_wait,
            cancel_after=request.cancel_after,
            guard=guard,
        )
    except ReplicateJobError as error:
        return error


def _age(context: Context, claim: Claim) -> float:
    """Seconds since the intent was recorded."""
    intended = claim.entry.last_sent
    return (intended and intended.age(context.clock)) or 0.0


def _check_lease(context: Context, claim: Claim) -> None:
    """Raise NotSentError if another process may have taken over the job, for example while this process was stopped.

    If the process is stopped after this check, both processes may create a prediction. The second prediction is noticed
    when it is recorded, and then canceled and reported.
    """
    if not claim.lease.may_send:
        raise NotSentError(f"the claim of the job {claim.key!r} was about to end, so nothing was sent")
    if _age(context, claim) > UNSENT:
        raise NotSentError(f"the intent of the job {claim.key!r} is {UNSENT:g} s old, so nothing was sent")
    context.account.begin()


def _advised(
    context: Context, error: ReplicateJobError, request: CreateRequest, tried: tuple[str, ...]
) -> ReplicateJobError:
    """Turn a 404 for a create request into ModelNotFoundError, and add advice to a refused version.

    A prediction of an official model is created by the model's name. Such a model may refuse every version, even the
    version that the API shows.
    """
    target = request.target
    is_versioned = target.kind == "version" and bool(target.slug)
    advice = f"leave the version out where the model is an official one: {target.slug}" if is_versioned else ""
    if isinstance(error, NotFoundError):
        advice = advice or context.advise_missing(str(target))
        return ModelNotFoundError(str(target), [*tried, f"POST {request.path}"], advice)
    if isinstance(error, InvalidRequestError) and error.title.startswith(_REFUSED_VERSION) and advice:
        error.args = (f"{error}; {advice}",)
    return error


async def _record(  # noqa: PLR0913 - what to record, and what to call with it
    context: Context,
    claim: Claim,
    prediction: Prediction,
    sent_at: float,
    unwritten: Callable[[Prediction | None], None],
    *,
    collected: bool,
) -> Created | None:
    """Record the id. If another process took over this job and created a prediction too, cancel this prediction.

    Returns None if a job with an equal request has adopted this prediction. This job may then adopt the other job's
    prediction, if there is one.
    """
    unwritten(prediction)
    try:
        own = await context.journal.created(claim, prediction, collected=collected)
    except ClaimLostError:
        unwritten(None)
        await cancel_surplus(context, prediction.id)
        raise
    except JournalError as fault:
        return Created(prediction.id, sent_at, prediction, fault=fault)
    unwritten(None)
    if own and own != prediction.id:
        context.reporter.warn(f"another process has created {own} for this job meanwhile: canceling {prediction.id}")
        await cancel_surplus(context, prediction.id)
        raise ClaimLostError(f"another process has taken over the job {claim.key!r}")
    if own:
        context.strategy.recorded(own)
    return Created(own, sent_at, prediction, collected=collected) if own else None


async def _look_for(context: Context, claim: Claim, broken: ReplicateJobError | None) -> str | None:
    if broken:
        context.reporter.warn(f"{broken}; looking whether the prediction was created")
    found = await reconcile(context, claim, ended=context.clock.now(), further=True)
    context.reporter.note(f"it was created: {found}" if found else "it was not created")
    if found:
        context.strategy.recorded(found)
    return found


class _Tries:
    """Counts create requests that created no prediction for the job. Gives up at the limits of the retry policy."""

    def __init__(self, context: Context, claim: Claim) -> None:
        self._context, self._claim = context, claim
        self._unsent = self._throttles = self._sends = 0
        self._throttled = 0.0
        self._foreign: set[str] = set()

    def end_with(self, created: Created, *, blocking: bool) -> Created:
        """Report a created prediction to the telemetry. ``blocking``: its create request had a blocking wait."""
        context = self._context
        context.telemetry.created(created.id, context.clock.now() - created.sent_at, blocking=blocking)
        self._note(made=1)
        return created

    def _note(self, made: int = 0) -> None:
        failures = self._unsent + self._throttles + self._sends
        self._context.telemetry.tried(failures + made, self._throttles)

    async def pause(self, error: NotSentError | RateLimitError) -> None:
        """Wait after a create request that certainly created no prediction."""
        retry_policy = self._context.retry_policy
        if isinstance(error, RateLimitError):
            delay = max(backoff(self._throttles), error.retry_after or 0)
            self._throttles += 1
            self._note()
            self._throttled += delay
            if self._throttled > retry_policy.throttle:
                limit = f"asked to wait {delay:.3g} s more, and {retry_policy.throttle:g} s in all is the limit"
                await self.give_up(error, f"{error}; {limit}; nothing was created")
        else:
            delay = backoff(self._unsent)
            self._unsent += 1
            self._note()
            if isinstance(error, CertificateError):
                await self.give_up(error, f"{error}; nothing was created")
            if self._unsent >= retry_policy.connects:
                await self.give_up(error, f"{error}; tried {self._unsent} times, nothing was created")
        # With this record, a process that cancels or resumes the job during the pause need not look for a prediction.
        await self._context.journal.unsent(self._claim)
        self._context.reporter.warn(f"{error}; nothing was created, trying again in {delay:.3g} s")
        await self._context.clock.sleep(delay)

    async def count(self, broken: ReplicateJobError | None, foreign: str) -> None:
        """Count a create request that created no prediction for this job.

        ``foreign`` is the id in the answer if another job has adopted the prediction. Jobs with equal requests may
        adopt each other's predictions, but a correct API never returns the same id to a job twice.
        """
        self._sends += 1
        self._note()
        is_last = self._sends >= self._context.retry_policy.sends
        if foreign and (is_last or foreign in self._foreign):
            reason = "the API answers each create with a prediction of another job"
            await be_uncertain(self._context, self._claim, reason)
        self._foreign.add(foreign)
        if broken and is_last:
            await self.give_up(broken, f"{broken}; sent {self._sends} times, nothing was created")
        await self._context.clock.sleep(backoff(self._sends - 1))

    async def give_up(self, error: ReplicateJobError, reason: str = "") -> NoReturn:
        """Mark the job as refused, so that its key can be used again, and raise ``error``."""
        if reason:
            error.args = (reason,)
        try:
            await self._context.journal.refused(self._claim, str(error))
        except ClaimLostError:
            raise
        except JournalError as fault:  # the journal still says that a request was sent: the next run looks it up
            self._context.reporter.error(str(fault))
        raise error
