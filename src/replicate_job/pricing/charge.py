"""The cost of a prediction: its price times its usage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from replicate_job.pricing.price import Price, Source
from replicate_job.pricing.table import read_prices
from replicate_job.pricing.usage import Usage, units


class Charge(msgspec.Struct, frozen=True):
    """The cost of one or more predictions, in USD. An estimate, since the API returns no prices.

    ``source`` and ``date`` are the price's. A sum of charges has the earliest date, and no ``source`` if the sources
    differ. ``excludes`` names billed items that are not in ``cost``; empty if there are none.
    """

    cost: Decimal
    source: Source | None
    date: date | None = None
    excludes: str = ""


def total(charges: Sequence[Charge | None]) -> Charge | None:
    """The sum of the charges; None if one of them is unknown, or the list is empty."""
    known = [charge for charge in charges if charge]
    if not known or len(known) < len(charges):
        return None
    sources, dates = {charge.source for charge in known}, [charge.date for charge in known if charge.date]
    return Charge(
        sum((charge.cost for charge in known), Decimal(0)),
        sources.pop() if len(sources) == 1 else None,
        min(dates, default=None),
        next((charge.excludes for charge in known if charge.excludes), ""),
    )


IDLE = "setup and idle time of its instances"


def charge(price: Price, usage: Usage) -> Charge | None:
    """The charge for a prediction. None if it has not ended, or if its usage is not known.

    An ``aborted`` prediction ended before it began, and is free: https://replicate.com/docs/billing.
    """
    cost = Decimal(0)
    if usage.status not in {"succeeded", "failed", "canceled", "aborted"}:
        return None
    if usage.status != "aborted":
        for term in price.terms:
            used = units(term.unit, usage)
            if used is None:
                return None
            cost += term.amount * used
    return Charge(cost.normalize(), price.source, price.date, IDLE if price.bills_idle else "")


def is_free(price: Price | Charge | str, stand_in: str) -> bool:
    """Whether a stand-in answered for free. Only a price that the user gave for the batch applies to stand-ins."""
    return bool(stand_in) and not isinstance(price, Charge) and not (isinstance(price, Price) and price.is_asked_for)


def charge_by(price: Price | Charge | str, usage: Usage, stand_in: str = "") -> Charge | None:
    """The charge by a price, or by a model's name in the tables (see ``Prices.find``). A charge is returned as it is.

    ``stand_in`` describes the stand-in that answered; empty if the model itself did. None if a stand-in was free, or if
    the price or the usage is unknown. Raises JobError for a file of prices that cannot be read.
    """
    if isinstance(price, Charge):
        return price
    if is_free(price, stand_in):
        return None
    found = price if isinstance(price, Price) else read_prices().find(price)
    return charge(found, usage) if found else None
