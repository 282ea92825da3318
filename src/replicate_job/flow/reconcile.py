"""Finds out from the account's list whether a create request without an answer created a prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from replicate_job.api.failures import backoff, is_transient
from replicate_job.clock import Moment
from replicate_job.errors import JournalError, NotFoundError, ReplicateJobError, UncertainError
from replicate_job.flow.context import Context, moment
from replicate_job.flow.listed_files import ListedFiles
from replicate_job.flow.listing import Listing
from replicate_job.flow.matching import judge
from replicate_job.flow.span import SLACK, Span, span_of
from replicate_job.journal.entry import LONGEST_REQUEST, Adoption, Claim, CreateRequest, Entry
from replicate_job.telemetry import COUNTS
from replicate_job.wire.prediction import Prediction, parse_time

FUTURE = 10.0
"""A listed prediction may be this many seconds ahead of the API's ``Date``, since a response may be delivered late."""


async def reconcile(
    context: Context, claim: Claim, *, ended: float | None = None, within: float | None = None, further: bool = False
) -> str | None:
    """The id of the prediction that this job's create requests made, or None if they certainly made no prediction.

    ``ended`` is the clock's ``now`` at the end of the last request; None if another process sent it. The list is read
    until it shows the prediction, or until it would certainly show the prediction. Raises UncertainError if the list
    does not show whether there is a prediction. Also raises UncertainError if the outcome is not known within
    ``within`` seconds; the job's state is then not changed. Raises ClaimLostError.

    With ``further``, also cancel a further prediction of this job that the list shows later. A process that was stopped
    between its check of the claim and its request can have made one. Such a process has lost its claim. So the list is
    read again only for a job that was sent more than once, and claimed more than once.
    """
    entry = claim.entry
    if entry.request is None or entry.first_sent is None or entry.last_sent is None:
        if entry.sends == 0 and entry.state == "claimed":
            return None
        await be_uncertain(context, claim, "the journal does not hold what was sent")
    with context.telemetry.step("look up"):
        return await _LookUp(context, claim, entry.request, ended, further=further).run(within)


class _LookUp:
    def __init__(
        self, context: Context, claim: Claim, request: CreateRequest, ended: float | None, *, further: bool
    ) -> None:
        self._context, self._claim, self._request = context, claim, request
        self._began = context.clock.now()
        self._seen: dict[Moment, float] = {}
        self._latest: dict[Moment, float] = {}
        self._own_end, self._others_end = ended, -math.inf
        self._is_told = ended is None
        self._found: str | None = None
        self._most = claim.entry.sends if further and claim.fence > 1 else 1  # predictions that this job may have
        self._canceled: set[str] = set()
        self._files = ListedFiles(context.fetch)
        self._is_settled = False
        self._behind = 0.0

    @property
    def _ended(self) -> float:
        """A moment by which the requests that decide have ended, as this clock's ``now``."""
        return max(self._others_end, self._end_of(self._claim.entry) if self._own_end is None else self._own_end)

    def _end_of(self, entry: Entry) -> float:
        """A moment by which the entry's last request has ended, as this clock's ``now``."""
        assert entry.request_end  # noqa: S101 - for the type checker: a request was sent
        return self._reckon(entry.request_end)

    async def run(self, within: float | None) -> str | None:
        context, clock, attempt = self._context, self._context.clock, 0
        await self._check_account(must_be_known=False)
        failing: float | None = None
        while True:
            span, delay = self._span(), backoff(attempt, ceiling=2)
            try:
                is_over = await (self._look_beside(span) if self._is_settled else self._look(span))
            except (UncertainError, JournalError):
                raise
            except ReplicateJobError as error:
                failing = clock.now() if failing is None else failing
                given_up = max(self._ended + context.retry_policy.settle, failing) + context.retry_policy.listing
                if not is_transient(error) or clock.now() >= given_up:
                    if self._found:
                        return self._found
                    await self._give_up(f"the list of predictions cannot be read: {error}")
                delay = max(delay, getattr(error, "retry_after", None) or 0)
            else:
                failing = None
                if is_over:
                    return self._found
            if within is not None and clock.now() >= self._began + within:
                raise UncertainError(_not_yet(context), key=self._claim.key)
            attempt += 1
            await clock.sleep(max(0.05, delay))

    def _span(self) -> Span:
        entry = self._claim.entry
        assert entry.first_sent  # noqa: S101 - for the type checker: a request was sent
        assert entry.last_sent  # noqa: S101
        return span_of(entry.first_sent, entry.last_sent, self._context.clock, self._context.client.api_time)

    async def _look(self, span: Span) -> bool:
        """Read the list one time. Returns whether the look-up is over."""
        started = self._context.clock.now()
        listing = await self._context.strategy.read_list(self._context, after=span.after, before=span.before)
        span = self._span()  # computed again, since the response may have the API's time
        adoption = await self._adopt(listing, span)
        if self._found:
            return len(self._canceled) + 1 >= self._most or self._has_settled(listing, started, adoption)
        if not self._has_settled(listing, started, adoption):
            return False
        if await self._are_others(adoption.unclear, listing):
            return False
        await self._check_sure(span, listing, adoption)
        self._is_settled = True
        return await self._look_beside(span)

    async def _look_beside(self, span: Span) -> bool:
        """Look in a wider span, in which the prediction is listed if a clock was wrong by minutes.

        A prediction outside the span is never certain to be this job's. An equal or almost equal prediction makes the
        job uncertain. If this reading fails, only this reading is repeated.
        """
        after, before = span.wider
        listing = await self._context.strategy.read_list(self._context, after=after, before=before)
        beside = await self._adopt(listing, span, beside=True)
        if self._found:
            return True
        if await self._are_others(beside.unclear, listing):
            return False
        if beside.unclear:
            await self._give_up("a prediction could be it, but for the time when it was made", beside.unclear)
        return True

    async def _adopt(self, listing: Listing, span: Span, *, beside: bool = False) -> Adoption:
        """Adopt this job's prediction. With ``beside``, a prediction outside the span is only a possible match."""
        same: list[Prediction] = []
        almost: list[Prediction] = []
        for prediction in listing.predictions:
            created = parse_time(prediction.created_at)
            is_inside = span.covers(created)
            # The list hides secrets, so requests that differ only in a secret look the same. With secrets, a match is
            # certain only within the request's time by the API's own clock.
            is_exact = not self._request.secrets or span.is_exact(created)
            if not (is_inside or (beside and span.may_cover(created))):
                continue
            match await judge(prediction, self._request, self._files.content_print):
                case "same":
                    (same if is_inside and is_exact else almost).append(prediction)
                case "almost" if span.is_trusted:
                    almost.append(prediction)
        is_own_list = await is_same_account(self._context, self._claim.entry) is True
        unanswered = None if self._is_told else moment(self._context)
        adoption = await self._context.journal.adopt(
            self._claim, _oldest_first(same), _oldest_first(almost), is_own_list=is_own_list, unanswered=unanswered
        )
        self._is_told, self._found = True, adoption.prediction_id
        for surplus in adoption.surplus:
            if surplus not in self._canceled:
                self._canceled.add(surplus)
                await self._cancel(surplus, str(adoption.prediction_id))
        return adoption

    async def _cancel(self, surplus: str, own: str) -> None:
        """Cancel a job's second prediction.

        A process made it if the process was stopped after its lease check, and sent its request when it continued.
        """
        key = self._claim.key
        self._context.reporter.warn(f"the job {key!r} was created twice: {own} is its prediction, canceling {surplus}")
        await cancel_surplus(self._context, surplus)

    def _has_settled(self, listing: Listing, started: float, adoption: Adoption) -> bool:
        """Whether the list would show the prediction: it shows a later prediction, or enough time has passed."""
        context, since = self._context, max([self._ended, *map(self._reckon, adoption.rivals_unanswered)])
        if started >= since + context.retry_policy.settle:
            return True
        api_time = context.client.api_time
        if api_time is None or listing.newest is None:
            return False
        # A prediction with a time after the ``Date`` shows how far the ``Date`` is behind. If the ``Date`` is too far
        # behind, times cannot be compared with it.
        self._behind = max(self._behind, listing.newest.timestamp() - api_time)
        if self._behind > FUTURE:
            return False
        ended = api_time + self._behind - (context.clock.now() - since)
        return ended + context.retry_policy.overtaken + SLACK <= listing.newest.timestamp()

    def _reckon(self, moment: Moment) -> float:
        """The moment as this clock's ``now``, at most ``LONGEST_REQUEST`` ahead.

        A moment of another machine becomes the time when it was first read, or a later time if the moment is still to
        come. That is decided by the API's time, or by the journal's time if the moment has no API's time.
        """
        now, at = self._context.clock.now(), moment.on(self._context.clock)
        latest = now + LONGEST_REQUEST
        if at is None and moment not in self._seen:
            time = self._context.journal.time() if moment.api is None else self._context.client.api_time
            if time is None:  # until a response tells the API's time
                return self._latest.setdefault(moment, latest)
            self._seen[moment] = min(latest, now + max(0.0, moment.best - time))
        return self._seen[moment] if at is None else min(latest, at)

    async def _are_others(self, unclear: Sequence[str], listing: Listing) -> bool:
        """Whether each ``unclear`` prediction belongs to another job, or may be from another job's open create request.

        False if no prediction is unclear.
        """
        candidates = [prediction for prediction in listing.predictions if prediction.id in unclear]
        entries = await self._under_way() if candidates else []
        for prediction in candidates:
            for entry in entries:
                assert entry.request  # noqa: S101 - for the type checker: `_under_way` filters by it
                if await judge(prediction, entry.request, self._files.content_print) == "same":
                    # The two jobs may adopt each other's prediction, so wait until the other's request has ended too.
                    self._others_end = max(self._others_end, self._end_of(entry))
                    break
            else:
                if not await self._context.journal.find(prediction.id, self._context.api):
                    return False
        return bool(candidates)

    async def _under_way(self) -> list[Entry]:
        """Other jobs whose create request may still be open, or whose prediction the list may not show yet."""
        context, longest = self._context, LONGEST_REQUEST + self._context.retry_policy.settle
        return [
            entry
            for entry in await context.journal.under_way(context.api)
            if entry.key != self._claim.key and entry.request and entry.last_sent
            if (age := entry.last_sent.age(context.clock)) is not None and age < longest
        ]

    async def _check_sure(self, span: Span, listing: Listing, adoption: Adoption) -> None:
        """Raise UncertainError if finding no prediction does not prove that there is none."""
        if adoption.unclear:
            several = "several predictions could be it" if len(adoption.unclear) > 1 else "a prediction could be it"
            await self._give_up(several, adoption.unclear)
        if not span.is_trusted:
            await self._give_up(f"none of the {len(listing.predictions)} listed is it, and the API's time is not known")
        await self._check_account(must_be_known=True)

    async def _check_account(self, *, must_be_known: bool) -> None:
        """Raise UncertainError if the request was sent for another account, whose list cannot be read.

        With ``must_be_known``, an unknown account raises UncertainError too. Otherwise the look-up goes on, since
        another process may record the account meanwhile.
        """
        is_same = await is_same_account(self._context, self._claim.entry)
        if is_same is False:
            await self._give_up("it was sent with the token of another account: run it again with that one")
        if is_same is None and must_be_known:
            token = "a token that the journal does not know" if self._claim.entry.token is None else "another token"
            await self._give_up(f"it was sent with {token}, and of which account is not known")

    async def _give_up(self, reason: str, candidates: Sequence[str] = ()) -> NoReturn:
        await be_uncertain(self._context, self._claim, reason, candidates)


async def is_same_account(context: Context, entry: Entry) -> bool | None:
    """Whether the account that sent the entry's create request is the account whose list is read. None: not known."""
    if context.ephemeral or context.journal.uses_token(entry):
        return True
    if entry.token is None:
        return None
    sender = await context.journal.account(context.api, entry.token)
    reader = await context.account.find()
    return sender == reader if sender and reader else None


async def explain_missing(context: Context, entry: Entry, error: NotFoundError) -> None:
    """Add a hint to the 404 if the prediction may belong to another account, for which the API answers 404 too."""
    if entry.token is None:  # the prediction was made elsewhere, or the entry is older than this field
        return
    with suppress(JournalError):
        is_same = await is_same_account(context, entry)
        if not is_same:
            whose = "the token of another account" if is_same is False else "another token"
            error.args = (f"{error}; it was created with {whose}: run it again with that one",)


def _not_yet(context: Context) -> str:
    return (
        "it is not known yet whether a prediction was created, for the list of predictions may be late; "
        f"{context.line('resume')} looks again"
    )


async def be_uncertain(context: Context, claim: Claim, reason: str, candidates: Sequence[str] = ()) -> NoReturn:
    """Record that the outcome is uncertain, and raise UncertainError with advice."""
    which = f" ({', '.join(candidates[:5])})" if candidates else ""
    problem = f"it is not known whether a prediction was created: {reason}{which}"
    await context.journal.uncertain(claim, problem)
    COUNTS.uncertain += 1
    advice = context.strategy.advise_uncertain(context, claim.key)
    raise UncertainError(f"{problem}; {advice}", key=claim.key, candidates=candidates)


async def cancel_surplus(context: Context, prediction_id: str) -> None:
    """Cancel a job's second prediction, unless another job has adopted it."""
    if await context.journal.find(prediction_id, context.api):
        return
    for attempt in range(context.retry_policy.connects):
        try:
            await context.client.cancel_prediction(prediction_id)
        except ReplicateJobError as error:
            problem = error
            await context.clock.sleep(backoff(attempt))
        else:
            return
    context.reporter.error(f"{prediction_id} could not be canceled and may be charged: {problem}")


def _oldest_first(predictions: list[Prediction]) -> list[str]:
    ordered = sorted(predictions, key=lambda each: each.created_at or "")
    return list(dict.fromkeys(each.id for each in ordered))
