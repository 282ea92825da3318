"""After a create whose answer never came: find out, from the account's list, whether it made a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from replicate_job.api.retry import backoff, is_transient
from replicate_job.errors import ReplicateJobError, UncertainError
from replicate_job.flow.context import Context
from replicate_job.journal.entry import Claim, Entry, Request
from replicate_job.wire.prediction import Prediction, parse_time

SLACK = 5.0
"""Seconds by which two clocks may still differ after the ``Date`` header was taken into account."""
LATEST = 300.0
"""Seconds after the last send in which a create that was sent can still have been acted upon."""


class _Found(msgspec.Struct, frozen=True):
    """Ids, oldest first: those with this very request, and those whose input the API has removed."""

    same: Sequence[str]
    doubtful: Sequence[str]


async def reconcile(context: Context, claim: Claim, entry: Entry, *, elapsed: float = 0) -> str | None:
    """The id of the prediction that this job's create made, or None where it certainly made none.

    The list is asked until it shows the prediction, or until it had ``settle`` seconds to do so, of which ``elapsed``
    have passed since the create was under way. Raises UncertainError where it cannot be told, and ClaimLostError.
    """
    clock, patience = context.clock, context.patience
    now = clock.now()
    settled = now + patience.settle - max(0.0, elapsed)
    given_up = max(settled, now) + patience.listing
    attempt = 0
    while True:
        settled_before = clock.now() >= settled and context.client.clock_offset is not None
        delay = backoff(attempt, ceiling=2)
        try:
            found = await _search(context, entry)
        except ReplicateJobError as error:
            if not is_transient(error) or clock.now() >= given_up:
                await be_uncertain(context, claim, f"the list of predictions cannot be read: {error}")
            delay = max(delay, getattr(error, "retry_after", None) or 0)
        else:
            adoption = await context.journal.adopt(claim, found.same, found.doubtful)
            if adoption.prediction_id:
                return adoption.prediction_id
            sent = adoption.rivals_sent
            settled_before &= sent is None or clock.time() - sent >= patience.settle
            if settled_before and not adoption.unclear:
                return None
            if settled_before:
                reason = "several predictions could be it" if found.same else "the API has removed the inputs already"
                await be_uncertain(context, claim, reason, adoption.unclear)
        attempt += 1
        await clock.sleep(max(0.05, min(delay, given_up - clock.now())))


async def be_uncertain(context: Context, claim: Claim, reason: str, candidates: Sequence[str] = ()) -> NoReturn:
    which = f" ({', '.join(candidates[:5])})" if candidates else ""
    problem = f"it is not known whether a prediction was created: {reason}{which}"
    await context.journal.uncertain(claim, problem)
    advice = (
        "nothing is sent again by itself: the same batch looks again, and with --retry-failed makes a new one"
        if context.batch
        else f"nothing is sent again by itself: {context.line('resume')} looks again, "
        f"{context.line('wait', 'ID', '--key', claim.key)} takes that prediction for this job"
    )
    raise UncertainError(f"{problem}; {advice}", key=claim.key, candidates=candidates)


async def _search(context: Context, entry: Entry) -> _Found:
    request, first, last = entry.request, entry.first_sent, entry.last_sent
    if request is None or first is None or last is None:
        return _Found((), ())
    # A gateway's Date may be wrong where the predictions' times are right: the span covers both clocks.
    offset = context.client.clock_offset or 0.0
    after = datetime.fromtimestamp(first + min(offset, 0.0) - SLACK, UTC)
    before = datetime.fromtimestamp(last + max(offset, 0.0) + LATEST, UTC)
    same: list[Prediction] = []
    doubtful: list[Prediction] = []
    read = context.scans.read if context.scans else context.client.list_predictions
    async for page in read(after=after, before=before):
        for prediction in page:
            created = parse_time(prediction.created_at)
            if created and not after <= created <= before:
                continue
            verdict = is_answer(prediction, request)
            if verdict is None:
                doubtful.append(prediction)
            elif verdict:
                same.append(prediction)
        oldest = parse_time(page[-1].created_at) if page else None
        if oldest and oldest < after:  # a server that knows no filter goes on to the account's first day
            break
    return _Found(_oldest_first(same), _oldest_first(doubtful))


def _oldest_first(predictions: list[Prediction]) -> list[str]:
    ordered = sorted(predictions, key=lambda each: each.created_at or "")
    return list(dict.fromkeys(each.id for each in ordered))


def is_answer(prediction: Prediction, request: Request) -> bool | None:
    """Whether this request could have made that prediction; None where its input is gone and only the rest fits."""
    target = request.target
    match target.kind:
        case "deployment":
            fits = prediction.deployment in {None, target.slug}
        case "model" if not request.version:
            fits = prediction.model in {None, target.slug} and not prediction.deployment
        case _:
            # An official model hides its versions, also when it was created by one.
            named = prediction.model in {None, target.slug} or not target.slug
            hidden = prediction.version in {None, "hidden"} and named
            fits = (hidden or prediction.version == request.version) and not prediction.deployment
    if not fits:
        return False
    if prediction.data_removed or (not prediction.input and request.input):
        return None
    return same_input(request.input, prediction.input or {})


def same_input(sent: Any, listed: Any) -> bool:
    """Whether an input that the API lists is the one that was sent.

    Numbers are compared by value; a data URL also equals an http URL, for the API may keep it as a file.
    """
    if isinstance(sent, dict) and isinstance(listed, dict):
        return sent.keys() == listed.keys() and all(same_input(value, listed[name]) for name, value in sent.items())
    if isinstance(sent, list) and isinstance(listed, list):
        return len(sent) == len(listed) and all(map(same_input, sent, listed))
    if isinstance(sent, str) and isinstance(listed, str) and sent.startswith("data:"):
        return listed == sent or listed.startswith(("http:", "https:"))
    if isinstance(sent, bool) or isinstance(listed, bool):
        return sent is listed
    return bool(sent == listed)
