"""The price of a batch's model, and the costs of its predictions by that price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def price_of(context: Context, batch: Batch, model: str, resolved: Resolved) -> Price | None:
    """The model's price from the user, or else from the price tables; None if neither has one.

    On the local server, only a price from the user counts. ``model`` is the name that the batch uses. Raises JobError
    for a text that is not a price, and for a user's price file that cannot be read.
    """
    prices, said = read_prices(), batch.prices.get(model)
    if said is None and model == batch.job.model:
        said = batch.prices.get("")
    if said is not None:
        try:
            return msgspec.structs.replace(prices.read(said), is_asked_for=True)
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


def read_said(said: str | Mapping[str, str] | Iterable[str] | None) -> dict[str, str]:
    """The user's prices by the model's name; the name ``""`` stands for the batch's own model.

    ``said`` is such a mapping, or one or more texts of the form ``MODEL=PRICE`` or ``PRICE``. Raises JobError if a
    model has two prices.
    """
    if isinstance(said, Mapping):
        return dict(said)
    found: dict[str, str] = {}
    for text in [said] if isinstance(said, str) else said or ():
        name, _, price = text.rpartition("=")
        if (model := name.strip()) in found:
            raise JobError(f"--price: {model or 'the model'} has two prices: give one")
        found[model] = price
    return found


def check_said(batch: Batch) -> None:
    """Raise JobError for a price whose model is not in the batch.

    If the batch has several models, also raise JobError for a price that names no model.
    """
    own, fallbacks = batch.job.model, [each.model for each in batch.job.fallback]
    names = [own, *batch.others, *fallbacks]
    for model in batch.prices:
        if model and model not in names:
            raise JobError(
                f"--price (in Python price=): {model} is no model of the batch: these are {', '.join(names)}"
            )
    if "" in batch.prices and batch.others:
        example = f"--price {own}={batch.prices['']}"
        raise JobError(f"--price (in Python price=): with several models, name the model of each price: {example}")


def advise(context: Context, resolved: Resolved, *, called: str = "", several: bool = False) -> str:
    """Advice on how to give a price for a model without one.

    ``several``: the batch has several models. ``called`` is the user's name for this model.
    """
    if context.ephemeral:
        option = f"--price {called}=0.003/image" if called else "--price 0.003/image"
        return f"predictions on this machine cost nothing: to rehearse a cost limit, give a price: {option}"
    place, name = read_prices().place, _name(resolved) or str(resolved.target)
    file = f", or name it in {place}" if place else ""
    option = f"--price {called or name}=PRICE" if several else "--price"
    return (
        f"the price of {name} is not known: give {option} (in Python price=) as an amount ({EXAMPLES}) or the hardware "
        f"of its page (gpu-l40s){file}"
    )


def with_price(result: Result, price: Price | None) -> Result:
    """The result with that price. A result without a prediction, or with steps, is returned as it is.

    If ``price`` is None, the result says that its price is not known, and the price tables are not searched for each
    row.
    """
    return msgspec.structs.replace(result, price=price or "") if result.prediction_id and not result.steps else result


def charge_of(entry: Entry, price: Price | None = None) -> Charge | None:
    """The charge for a job in the journal; None if not known. If ``price`` is None, the price tables are used."""
    if entry.prediction is None:
        return None
    result = result_of(entry.prediction, entry)
    return (with_price(result, price) if price else result).charge


async def learn(context: Context, model: str, price: Price) -> Learned:
    """The costs of the newest predictions of a model, in all batches and jobs of the journal."""
    learned = Learned()
    for entry in reversed(await context.journal.past(context.api, model.partition(":")[0], WINDOW)):
        if (found := charge_of(entry, price)) and found.cost:
            learned.add(found.cost)
    return learned
