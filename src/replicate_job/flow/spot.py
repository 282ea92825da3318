"""Spots the prediction of a job whose create request is still open. Only its holder can wait for the answer."""

from __future__ import annotations

from functools import partial

from replicate_job.api.failures import is_transient
from replicate_job.errors import ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.listed_files import ListedFiles
from replicate_job.flow.matching import judge
from replicate_job.flow.reconcile import is_same_account
from replicate_job.flow.span import span_of
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction, parse_time


async def spot(context: Context, entry: Entry) -> str | None:
    """The id of the prediction that the account's list shows for this job. The journal is not changed.

    None if the list does not show the prediction yet or cannot be read now, or if it is not certain: another prediction
    may be it, or another job with an equal request is being created. Raises the API's errors that are not transient.
    """
    request = entry.request
    if entry.state != "intended" or request is None or entry.first_sent is None or entry.last_sent is None:
        return None
    if await is_same_account(context, entry) is not True:
        return None
    find_span = partial(span_of, entry.first_sent, entry.last_sent, context.clock)
    span = find_span(context.client.api_time)
    try:
        listing = await context.strategy.read_list(context, after=span.after, before=span.before)
    except ReplicateJobError as error:
        if not is_transient(error):
            raise
        return None
    span = find_span(context.client.api_time)  # the response may have the API's time
    files, found = ListedFiles(context.fetch), list[str]()
    for prediction in listing.predictions:
        created = parse_time(prediction.created_at)
        if not span.covers(created):
            continue
        verdict = await judge(prediction, request, files.content_print)
        if verdict == "other" or await context.journal.find(prediction.id, context.api):
            continue
        is_certain = span.is_exact(created) if request.secrets else span.is_trusted  # the list hides secrets
        if verdict == "almost" or found or not is_certain or await _may_be_others(context, entry, prediction, files):
            return None
        found.append(prediction.id)
    return found[0] if found else None


async def _may_be_others(context: Context, entry: Entry, prediction: Prediction, files: ListedFiles) -> bool:
    """Whether the prediction may be that of another job whose create request is open."""
    for other in await context.journal.under_way(context.api):
        if other.key == entry.key or other.request is None:
            continue
        if await judge(prediction, other.request, files.content_print) != "other":
            return True
    return False
