"""The price of a batch's model, and what its predictions cost so far by that price."""

from __future__ import annotations

import msgspec

from replicate_job.batches.spec import Batch
from replicate_job.errors import JobError
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Result
from replicate_job.journal.entry import Entry
from replicate_job.pricing.charge import Charge
from replicate_job.pricing.learned import WINDOW, Learned
from replicate_job.pricing.price import EXAMPLES, Price
from replicate_job.pricing.table import read_prices


def price_of(context: Context, batch: Batch, resolved: Resolved) -> Price | None:
    """What the user said, else what the tables say of the model. On this machine nothing has a price but that.

    Raises JobError for what is no price, and for a user's file that cannot be read.
    """
    prices = read_prices()
    if batch.price is not None:
        try:
            return prices.read(batch.price)
        except ValueError as error:
            raise JobError(f"--price (in Python price=): {error}") from None
    if context.ephemeral:
        return None
    hardware = f"@{resolved.hardware}" if resolved.hardware else ""
    price = prices.find(f"{_name(resolved)}{hardware}")
    return msgspec.structs.replace(price, bills_idle=price.bills_idle or resolved.is_private) if price else None


def _name(resolved: Resolved) -> str:
    target = resolved.target
    return str(target) if target.kind == "deployment" else target.slug


def advise(context: Context, resolved: Resolved) -> str:
    """What to give where a model has no price."""
    if context.ephemeral:
        return "what runs on this machine costs nothing: to rehearse, give a price, as --price 0.003/image"
    place = read_prices().place
    file = f", or name it in {place}" if place else ""
    return (
        f"the price of {_name(resolved) or resolved.target} is not known: give --price (in Python price=) as an amount "
        f"({EXAMPLES}) or the hardware of its page (gpu-l40s){file}"
    )


def with_price(result: Result, price: Price | None) -> Result:
    """The result with that price; without one it has none, and no row looks for it in the tables again."""
    return msgspec.structs.replace(result, price=price or "") if result.prediction_id and not result.steps else result


def charge_of(entry: Entry, price: Price | None = None) -> Charge | None:
    """What a job of the journal cost, by this price or else by the tables; None where that is not known."""
    if entry.prediction is None:
        return None
    result = result_of(entry.prediction, entry)
    return (with_price(result, price) if price else result).charge


async def learn(context: Context, model: str, price: Price) -> Learned:
    """What the newest predictions of a model cost, in any batch or job of the journal."""
    learned = Learned()
    for entry in reversed(await context.journal.past(context.api, model.partition(":")[0], WINDOW)):
        if (found := charge_of(entry, price)) and found.cost:
            learned.add(found.cost)
    return learned
