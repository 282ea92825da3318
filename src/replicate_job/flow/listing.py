"""Reads the account's list of predictions for a span of time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from datetime import datetime
from typing import Protocol

import msgspec

from replicate_job.wire.prediction import Prediction, parse_time

OLD = 100
"""Reading stops after a page once this many predictions in a row, newest first, were older than the span. Without this
limit, a server that ignores the time filter would list everything."""


class Pages(Protocol):
    def list_predictions(self, *, after: datetime, before: datetime) -> AsyncIterator[list[Prediction]]: ...


class Listing(msgspec.Struct, frozen=True):
    """The predictions from one reading of the list, without their outputs and logs.

    ``newest`` is the creation time of the newest prediction in the span, even if that prediction is left out because it
    is known. None if the span has no prediction.
    """

    predictions: list[Prediction]
    newest: datetime | None


async def read_list(client: Pages, *, after: datetime, before: datetime, known: Container[str] = ()) -> Listing:
    """Every prediction in the span except those in ``known``. Raises the same errors as ``list_predictions``.

    The order of the list is not relied on: a page may end with an old prediction, and the next page begin with newer
    predictions.
    """
    found: list[Prediction] = []
    newest: datetime | None = None
    old, last = 0, None
    async for page in client.list_predictions(after=after, before=before):
        times = [created for each in page if (created := parse_time(each.created_at))]
        # A look-up compares the inputs only. Outputs and logs may be large, so they are dropped.
        found += [msgspec.structs.replace(each, output=None, logs=None) for each in page if each.id not in known]
        inside = [created for created in times if after <= created <= before]
        newest = max([*inside, *([newest] if newest else [])], default=None)
        for created in times:
            old = old + 1 if created < after and (last is None or created <= last) else 0
            last = created
        if old >= OLD:
            break
        del page  # free its memory before the next page is read
    return Listing(found, newest)
