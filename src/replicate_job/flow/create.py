"""Create a prediction once.

The intent is recorded first. After a create request without an answer, the account's list is read before anything is
sent again.
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
from replicate_job.flow.reconcile import UNSENT, be_uncertain, cancel_surplus, reconcile
from replicate_job.journal.entry import Claim, CreateRequest
from replicate_job.wire.prediction import Prediction

ANSWER = 1.0
"""Seconds before the deadline at which a create request that is kept open is to be answered."""
_REFUSED_VERSION = "Invalid version"
"""The beginning of the title with which the API refuses a version."""


class Created(msgspec.Struct, frozen=True):
    """``prediction`` is the answer to the create request; None where the id was found in the account's list.

    ``sent_at`` is the clock's ``now`` from which the budget counts; ``age`` how many seconds ago it was made.
    ``fault`` is why the journal lacks the id.
    """

    id: str
    sent_at: float
    prediction: Prediction | None = None
    age: float = 0
    fault: JournalError | None = None
    collected: bool = False


async def create(  # noqa: PLR0913 - what to send, and what to do around it
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
    """Send ``request`` until exactly one prediction is known to exist. ``blocking_wait`` is in seconds, 0 for none.

    It is shortened so that the answer comes before the clock's ``now`` reaches ``deadline``.
    ``tried`` lists the look-ups before it, for the error that says that nothing of that name was found. ``is_all`` says
    whether the job is finished with what the create answered: then the journal records that too. ``unwritten`` gets the
    prediction of an answer before it is recorded, and None once the journal knows of it. ``slot`` is the rate-limit
    slot where it was waited for already. Raises the API's error where it refused (nothing was created),
    UncertainError, ClaimLostError.
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
        if isinstance(answer, NotSentError | RateLimitError):
            await tries.pause(answer)
            continue
        if isinstance(answer, ReplicateJobError):
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
    """Record the intent, unless the claim did that. Nothing is waited for between the intent and the first byte.

    A wait for the place may have made the claim's intent old: then it is recorded anew.
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
    """Raise NotSentError where another process may have taken the job over: this one may have been stopped meanwhile.

    A stop after this check shows when the prediction is recorded: then the second one is canceled, and reported.
    """
    if not claim.lease.may_send:
        raise NotSentError(f"the claim of the job {claim.key!r} was about to end, so nothing was sent")
    if _age(context, claim) > UNSENT:
        raise NotSentError(f"the intent of the job {claim.key!r} is {UNSENT:g} s old, so nothing was sent")
    context.account.begin()


def _advised(
    context: Context, error: ReplicateJobError, request: CreateRequest, tried: tuple[str, ...]
) -> ReplicateJobError:
    """A 404 to a create request means that the model does not exist.

    An official model is created by its name, and may refuse all of its versions, also the one that it shows.
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


async def _record(  # noqa: PLR0913 - what to record, and who is to know of it
    context: Context,
    claim: Claim,
    prediction: Prediction,
    sent_at: float,
    unwritten: Callable[[Prediction | None], None],
    *,
    collected: bool,
) -> Created | None:
    """Record the id. Cancel the prediction if another process has taken this job over and created one as well.

    None where a job with the same request has adopted this prediction. The other job's own prediction, if there is
    one, is then for this job to adopt.
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
    found = await reconcile(context, claim, ended=context.clock.now())
    context.reporter.note(f"it was created: {found}" if found else "it was not created")
    if found:
        context.strategy.recorded(found)
    return found


class _Tries:
    """Counts what went wrong before anything was created, and gives up when the retry policy is exhausted."""

    def __init__(self, context: Context, claim: Claim) -> None:
        self._context, self._claim = context, claim
        self._unsent = self._throttles = self._sends = 0
        self._throttled = 0.0
        self._foreign: set[str] = set()

    def end_with(self, created: Created, *, blocking: bool) -> Created:
        """Note a prediction that this job made; ``blocking``: its create request was kept open."""
        context = self._context
        context.telemetry.created(created.id, context.clock.now() - created.sent_at, blocking=blocking)
        self._note(self._failures + 1)
        return created

    @property
    def _failures(self) -> int:
        return self._unsent + self._throttles + self._sends

    def _note(self, sent: int) -> None:
        self._context.telemetry.tried(sent, self._throttles)

    async def pause(self, error: NotSentError | RateLimitError) -> None:
        """Wait after a create request that certainly made nothing."""
        retry_policy = self._context.retry_policy
        if isinstance(error, RateLimitError):
            delay = max(backoff(self._throttles), error.retry_after or 0)
            self._throttles += 1
            self._note(self._failures)
            self._throttled += delay
            if self._throttled > retry_policy.throttle:
                limit = f"asked to wait {delay:.3g} s more, and {retry_policy.throttle:g} s in all is the limit"
                await self.give_up(error, f"{error}; {limit}; nothing was created")
        else:
            delay = backoff(self._unsent)
            self._unsent += 1
            self._note(self._failures)
            if isinstance(error, CertificateError):
                await self.give_up(error, f"{error}; nothing was created")
            if self._unsent >= retry_policy.connects:
                await self.give_up(error, f"{error}; tried {self._unsent} times, nothing was created")
        # Another process that cancels or resumes the job meanwhile need not look for a prediction.
        await self._context.journal.unsent(self._claim)
        self._context.reporter.warn(f"{error}; nothing was created, trying again in {delay:.3g} s")
        await self._context.clock.sleep(delay)

    async def count(self, broken: ReplicateJobError | None, foreign: str) -> None:
        """Count a create request that was found to have made nothing for this job.

        ``foreign`` is the id of its answer, where another job has adopted that. Jobs with the same request may adopt
        each other's predictions, but a job meets the same foreign id once only.
        """
        self._sends += 1
        self._note(self._failures)
        is_last = self._sends >= self._context.retry_policy.sends
        if foreign and (is_last or foreign in self._foreign):
            reason = "the API answers each create with a prediction of another job"
            await be_uncertain(self._context, self._claim, reason)
        self._foreign.add(foreign)
        if broken and is_last:
            await self.give_up(broken, f"{broken}; sent {self._sends} times, nothing was created")
        await self._context.clock.sleep(backoff(self._sends - 1))

    async def give_up(self, error: ReplicateJobError, reason: str = "") -> NoReturn:
        """Free the job's key, as certainly nothing was created, and raise ``error``."""
        if reason:
            error.args = (reason,)
        try:
            await self._context.journal.refused(self._claim, str(error))
        except ClaimLostError:
            raise
        except JournalError as fault:  # the row says that a request was sent, and will be looked into
            self._context.reporter.error(str(fault))
        raise error
