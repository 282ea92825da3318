"""Lists all predictions of the account, also those made elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial

from replicate_job.flow.context import Context
from replicate_job.flow.reads import read
from replicate_job.journal.entry import Entry
from replicate_job.wire.prediction import Prediction, parse_time

AHEAD = timedelta(days=1)
"""The list is read up to one day in the future, since this machine's clock may be behind."""
_FIRST = datetime(2019, 1, 1, tzinfo=UTC)
"""A date before the API existed."""


async def pages(context: Context, *, since: timedelta | None = None) -> AsyncGenerator[list[Prediction], None]:
    """Pages of the account's predictions, newest first, without repetitions. Transient failures are retried.

    ``since`` is the greatest age of a prediction; None for all that the API lists.
    """
    now = datetime.fromtimestamp(context.clock.time(), UTC)
    # With a very great age, ``now - since`` would be before the first possible date.
    after = _FIRST if since is None or since > now - _FIRST else now - since
    shown = set[str]()
    listed = context.client.list_predictions(after=after, before=now + AHEAD, ask=partial(read, context))
    async for page in listed:
        recent = [prediction for prediction in page if _is_since(prediction, after)]
        new = [prediction for prediction in recent if prediction.id not in shown]
        shown.update(prediction.id for prediction in new)
        yield new
        if page and not recent:  # a server that ignores the filter lists everything
            return


async def listed(
    context: Context, *, since: timedelta | None = None
) -> AsyncGenerator[tuple[Prediction, Entry | None], None]:
    """The predictions of ``pages`` one by one, each with its entry in the journal, or with None if it has no entry."""
    async with aclosing(pages(context, since=since)) as found:
        async for page in found:
            for prediction in page:
                yield prediction, await context.journal.find(prediction.id, context.api)


def _is_since(prediction: Prediction, after: datetime) -> bool:
    created = parse_time(prediction.created_at)
    return created is None or created >= after
