"""The account's list of predictions, read over a span of time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from datetime import datetime
from typing import Protocol

import msgspec

from replicate_job.wire.prediction import Prediction, parse_time

OLD = 100
"""A server that ignores the filter lists everything: reading stops after the page on which so many predictions in a
row, newest first, are older than the span."""


class Pages(Protocol):
    def list_predictions(self, *, after: datetime, before: datetime) -> AsyncIterator[list[Prediction]]: ...


class Listing(msgspec.Struct, frozen=True):
    """What a reading showed: predictions without their outputs and logs.

    ``newest`` is when the newest prediction of the span was made, those left out included.
    """

    predictions: list[Prediction]
    newest: datetime | None


async def read_list(client: Pages, *, after: datetime, before: datetime, known: Container[str] = ()) -> Listing:
    """Every prediction of that span but the ``known`` ones. Raises as ``list_predictions`` does.

    The order within the list is not relied on: a page may end with an old item, and go on with newer ones.
    """
    found: list[Prediction] = []
    newest: datetime | None = None
    old, last = 0, None
    async for page in client.list_predictions(after=after, before=before):
        times = [created for each in page if (created := parse_time(each.created_at))]
        # A look-up compares what was sent: what came back may be large, and is not kept.
        found += [msgspec.structs.replace(each, output=None, logs=None) for each in page if each.id not in known]
        inside = [created for created in times if after <= created <= before]
        newest = max([*inside, *([newest] if newest else [])], default=None)
        for created in times:
            old = old + 1 if created < after and (last is None or created <= last) else 0
            last = created
        if old >= OLD:
            break
        del page  # the next one is read without it
    return Listing(found, newest)
