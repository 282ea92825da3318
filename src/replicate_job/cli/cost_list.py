"""``replicate-job list --cost``: list the cost of the predictions in the journal, rows of batches included."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from replicate_job.batches.prices import charge_of
from replicate_job.cli.exits import SUCCEEDED, UNREACHABLE
from replicate_job.cli.moments import of_unix
from replicate_job.cli.options import Common
from replicate_job.cli.output import name_damaged, print_json
from replicate_job.cli.streams import tell, write
from replicate_job.cli.table import table
from replicate_job.flow.collect import LOCAL
from replicate_job.journal.entry import Entry
from replicate_job.journal.open import open_journal
from replicate_job.pricing.price import CURRENCY
from replicate_job.pricing.table import read_prices
from replicate_job.quantity import count, duration, money, seconds
from replicate_job.wire.stand_in import stand_in


class _Spent:
    """The summed cost and time of some predictions. ``unknown`` is the number of predictions without a known cost."""

    def __init__(self, name: str, model: str) -> None:
        self.name, self._models = name, {model}
        self.latest, self.predict_time, self.cost = 0.0, 0.0, Decimal(0)
        self.predictions = self.unknown = 0

    @property
    def model(self) -> str:
        return ", ".join(sorted(self._models))

    def add(self, entry: Entry) -> None:
        self._models.add(entry.job.model.partition(":")[0])
        metrics = (entry.prediction and entry.prediction.metrics) or {}
        self.latest = max(self.latest, entry.claimed_at)
        self.predict_time += seconds(metrics.get("predict_time")) or 0.0
        self.predictions += 1
        charge = charge_of(entry)
        self.cost += charge.cost if charge else 0
        self.unknown += charge is None

    def to_dict(self) -> dict[str, Any]:
        is_known = self.unknown < self.predictions
        return {
            "name": self.name,
            "model": self.model,
            "predictions": self.predictions,
            "predict_time": self.predict_time,
            "cost": self.cost if is_known else None,
            "currency": CURRENCY if is_known else None,
            "unknown": self.unknown,
        }

    def row(self) -> tuple[str, ...]:
        return (of_unix(self.latest), self.name, self.model, *self._numbers())

    def by_model(self) -> tuple[str, ...]:
        return (self.model, *self._numbers())

    def _numbers(self) -> tuple[str, ...]:
        cost = money(self.cost) if self.unknown < self.predictions else ""
        return f"{self.predictions:,}", duration(self.predict_time), cost, f"{self.unknown:,}" if self.unknown else ""


async def list_costs(shared: Common, since: int | None, limit: int | None, *, as_json: bool, by_model: bool) -> int:
    """List the cost of each job and each batch, newest first; with ``by_model``, of each model, highest cost first.

    ``since`` is in seconds before now. Predictions before that time are left out.
    """
    read_prices()  # a wrong price file is an error before anything is printed
    groups: dict[str, _Spent] = {}
    total, free = _Spent("", ""), 0
    async with open_journal(shared.settings.journal) as journal:
        async for entries in journal.scan(since=0 if since is None else time.time() - since):
            for entry in filter(_may_have_prediction, entries):
                if _ran_here(entry):
                    free += 1
                    continue
                model = entry.job.model.partition(":")[0]
                name = model if by_model else entry.batch or _chain_of(entry) or entry.prediction_id or entry.key
                groups.setdefault(name, _Spent(name, model)).add(entry)
                total.add(entry)
    name_damaged(journal)
    found = sorted(groups.values(), key=lambda spent: (spent.cost if by_model else 0, spent.latest), reverse=True)
    _print(found[:limit], as_json=as_json, by_model=by_model)
    if not as_json and not shared.quiet:
        tell(_told(total, free))
    return UNREACHABLE if journal.damaged else SUCCEEDED


def _chain_of(entry: Entry) -> str:
    """The key of the chain that the job is a step of; empty if the job is not a step."""
    if entry.chain_step is None:
        return ""
    return re.sub(r"~\d+$", "", entry.key.removesuffix(f"/{entry.chain_step}"))  # the keys of retries end in ~2, ~3


def _may_have_prediction(entry: Entry) -> bool:
    return entry.prediction_id is not None or entry.state in {"intended", "uncertain"}


def _ran_here(entry: Entry) -> bool:
    """Whether the prediction cost nothing, because it ran with ``--local`` or on a local server's stand-in."""
    return entry.api == LOCAL or bool(entry.prediction and stand_in(entry.prediction.logs))


def _print(found: Iterable[_Spent], *, as_json: bool, by_model: bool) -> None:
    headings = ("MODEL", "PREDICTIONS", "PREDICT", "COST", "UNKNOWN")
    if as_json:
        print_json([spent.to_dict() for spent in found])
    elif by_model and found:
        write(table([headings, *(spent.by_model() for spent in found)]))
    elif found:
        write(table([("TIME", "JOB OR BATCH", *headings), *(spent.row() for spent in found)]))


def _told(total: _Spent, free: int) -> str:
    """The last line, which has the totals. ``free`` is the number of predictions that ran on this machine."""
    if not total.predictions:
        return "no predictions" + (f", but for {free:,} that ran on this machine" if free else "")
    left_out = f"; {free:,} that ran on this machine {'is' if free == 1 else 'are'} left out" if free else ""
    return f"{_sum(total)}{left_out}"


def _sum(total: _Spent) -> str:
    known = total.predictions - total.unknown
    cost = f"about {money(total.cost)}" if known else "no cost is known"
    words = f"{count(total.predictions, 'prediction')}: {duration(total.predict_time)} predict time, {cost}"
    if not total.unknown:
        return words
    place = read_prices().place
    file = f": add missing prices to {place}" if place else ""
    return f"{words} for {known:,} of them{file}" if known else f"{words}{file}"
