"""What a prediction cost, by a price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from replicate_job.pricing.price import Price, Source
from replicate_job.pricing.table import read_prices
from replicate_job.pricing.usage import Usage, units


class Charge(msgspec.Struct, frozen=True):
    """``cost`` is in USD: an estimate, as the API names no price. ``source`` and ``date`` are the price's.

    ``excludes`` says what is billed besides; empty for nothing. ``source`` is None for several together that have
    different ones.
    """

    cost: Decimal
    source: Source | None
    date: date | None = None
    excludes: str = ""


def total(charges: Sequence[Charge | None]) -> Charge | None:
    """All together; None where one of them is not known, or there is none."""
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
    """None for a prediction that has not ended, and where it is not known what it used.

    ``aborted`` ones ended before they began, and are free: https://replicate.com/docs/billing.
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


def charge_by(price: Price | Charge | str, usage: Usage) -> Charge | None:
    """The same by a price, or by a model's name in the tables (see ``Prices.find``). A charge stands for itself.

    Raises JobError for a file of prices that cannot be read.
    """
    if isinstance(price, Charge):
        return price
    found = price if isinstance(price, Price) else read_prices().find(price)
    return charge(found, usage) if found else None
